import type { Http2Server, ServerHttp2Session } from "node:http2";
import type { TLSSocket } from "node:tls";
import type { Server } from "@grpc/grpc-js";
import { callerFromSubject, managerRole } from "./identity.ts";
import type { ServiceOptions } from "./server.ts";

/**
 * Bytes of a stream, and of a connection, that may be on their way before they are read (RFC 9113 §5.2). With HTTP/2's own 64 KiB
 * a busy follower gets as much of the log for each turn of both event loops, and on a host that is late falls behind for that alone.
 */
export const receiveWindowBytes = 1024 * 1024;

/**
 * To be called once the server listens: connections of the cluster's managers get that window. Workers keep 64 KiB, as one could
 * open thousands of streams and fill them. grpc-js has an option for clients alone.
 */
export function widenManagersWindows(server: Server, { organization }: Pick<ServiceOptions, "organization">): void {
  const { http2Servers } = server as unknown as { readonly http2Servers: ReadonlyMap<Http2Server, unknown> };
  for (const http2Server of http2Servers.keys()) {
    http2Server.on("session", (session) => {
      if (!isManagers(session, organization())) return;
      session.setLocalWindowSize(receiveWindowBytes);
      session.settings({ initialWindowSize: receiveWindowBytes });
    });
  }
}

function isManagers({ socket }: ServerHttp2Session, cluster: string): boolean {
  const { authorized } = socket as TLSSocket;
  if (!authorized) return false;
  const { roles, organization } = callerFromSubject((socket as TLSSocket).getPeerCertificate().subject);
  return roles.includes(managerRole) && organization === cluster;
}
