import type { PeerSubject } from "./identity.ts";

/** What is needed of a call; every server call of @grpc/grpc-js has it. */
export interface AuthenticatedCall {
  getAuthContext(): { readonly sslPeerCertificate?: object | undefined } | undefined;
}

/** Node makes a new object of the certificate at every look, which takes longer than many a call. */
const subjects = new WeakMap<object, PeerSubject>();

/**
 * The subject of the caller's certificate, verified against the server's roots; undefined without one. Looked up once
 * per connection: HTTP/2 forbids renegotiation (RFC 9113 §9.2.1), so it cannot change.
 */
export function peerSubject(call: AuthenticatedCall): PeerSubject | undefined {
  const connection = connectionOf(call);
  const known = connection && subjects.get(connection);
  if (known) return known;
  const certificate = call.getAuthContext()?.sslPeerCertificate as { readonly subject?: PeerSubject } | undefined;
  if (connection && certificate?.subject) subjects.set(connection, certificate.subject);
  return certificate?.subject;
}

/** The call's HTTP/2 session. The library keeps it to itself: where it is not found, nothing is remembered. */
function connectionOf(call: AuthenticatedCall): object | undefined {
  const inner = (call as { readonly call?: { readonly stream?: { readonly session?: unknown } } }).call;
  const session = inner?.stream?.session;
  return typeof session === "object" && session !== null ? session : undefined;
}
