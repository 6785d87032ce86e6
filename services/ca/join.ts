import {
  CA,
  GetRootCACertificateRequest,
  IssuanceStatus_State,
  IssueNodeCertificateRequest,
  NodeCA,
  NodeCertificateStatusRequest,
  type NodeSpec_Availability,
} from "@starling/api";
import { RpcClient } from "@starling/api/rpc";
import { type Clock, type Logger, type Millis, SwarmError } from "@starling/base";
import { newCertificateRequest } from "./certificate-request.ts";
import { joinerCredentials, unverifiedCredentials } from "./credentials.ts";
import { NodeIdentity } from "./identity.ts";
import { parseJoinToken } from "./join-token.ts";
import { sha256 } from "./keys.ts";
import { RootCA } from "./root-ca.ts";

const callTimeoutMs = 5_000;
const retryMs = 250;

export interface JoinOptions {
  /** Remote API addresses of managers, `host:port`; tried in turn. */
  readonly addresses: readonly string[];
  readonly token: string;
  readonly availability?: NodeSpec_Availability;
  readonly stateDir: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly signal?: AbortSignal;
  /** How long to go on while no manager can answer (no leader, no route). Default 20 s. */
  readonly patienceMs?: Millis;
}

/**
 * Joins a cluster: fetches its root certificate, holds it against the token's digest, has a certificate issued and writes
 * the identity. Throws InvalidArgument for a token that is malformed, of another cluster or not (any more) valid,
 * FailedPrecondition for one of a cluster that requires FIPS (SwarmKit's ErrMandatoryFIPS): swarmd's cryptography is not so certified.
 */
export async function joinCluster(options: JoinOptions): Promise<NodeIdentity> {
  const { rootDigest, fips } = parseJoinToken(options.token);
  if (fips) {
    throw new SwarmError(
      "FailedPrecondition",
      "join token: the node is not FIPS-enabled but the cluster requires FIPS: join a cluster whose token begins with SWMTKN-1-",
    );
  }
  if (options.addresses.length === 0) {
    throw new SwarmError("InvalidArgument", "join address: none given: name a manager as host:port");
  }
  // Made while the first manager is asked for its root certificate.
  const made = newCertificateRequest();
  made.catch(() => undefined);
  const deadline = options.clock.monotonic() + (options.patienceMs ?? 20_000);
  for (let attempt = 0; ; attempt++) {
    const address = options.addresses[attempt % options.addresses.length]!;
    try {
      const root = await fetchRootCertificate(address, rootDigest, options.signal);
      const { csrPem, keyPem } = await made;
      const chainPem = await withClient(address, joinerCredentials(root.certificatePem), (client) =>
        requestCertificate(client, { csr: Buffer.from(csrPem), ...options }),
      );
      return await NodeIdentity.install(
        options.stateDir,
        { rootPem: root.certificatePem, chainPem, keyPem },
        options.clock,
      );
    } catch (thrown) {
      const error = SwarmError.from(thrown);
      if (!mayPass(error)) throw error;
      if (options.clock.monotonic() >= deadline) throw notJoined(address, error);
      options.log[attempt === 0 ? "info" : "debug"]("join will be tried again", { address, error });
      await options.clock.sleep(retryMs, options.signal);
    }
  }
}

/**
 * The root certificate that the manager at `address` hands out, if its digest is `rootDigest`; otherwise throws
 * InvalidArgument: somebody answers in the cluster's place, or the token is of another cluster.
 */
export async function fetchRootCertificate(
  address: string,
  rootDigest: Uint8Array,
  signal?: AbortSignal,
): Promise<RootCA> {
  const answer = await withClient(address, unverifiedCredentials(), (client) =>
    client.call(CA.methods.getRootCACertificate, GetRootCACertificateRequest.create(), {
      timeoutMs: callTimeoutMs,
      ...(signal && { signal }),
    }),
  );
  if (!Buffer.from(sha256(answer.certificate)).equals(rootDigest)) {
    throw new SwarmError(
      "InvalidArgument",
      `remote CA does not match fingerprint: ${address} is not a manager of the join token's cluster`,
    );
  }
  return RootCA.fromPem({ certificatePem: Buffer.from(answer.certificate).toString("utf8") });
}

/**
 * Asks for a certificate for `csr`, by token or, over a channel that shows a certificate, as a renewal. Waits until it is
 * issued and returns the PEM chain. Throws what the manager answered, or FailedPrecondition when it was refused.
 */
export async function requestCertificate(
  client: RpcClient,
  options: {
    readonly csr: Uint8Array;
    readonly token?: string;
    readonly availability?: NodeSpec_Availability;
    readonly signal?: AbortSignal;
  },
): Promise<string> {
  const call = { timeoutMs: callTimeoutMs, ...(options.signal && { signal: options.signal }) };
  const issued = await client.call(
    NodeCA.methods.issueNodeCertificate,
    IssueNodeCertificateRequest.create({
      csr: options.csr,
      token: options.token ?? "",
      ...(options.availability !== undefined && { availability: options.availability }),
    }),
    call,
  );
  const answer = await client.call(
    NodeCA.methods.nodeCertificateStatus,
    NodeCertificateStatusRequest.create({ nodeId: issued.nodeId }),
    { ...call, timeoutMs: 30_000 },
  );
  if (answer.status?.state !== IssuanceStatus_State.ISSUED) {
    throw new SwarmError(
      "FailedPrecondition",
      `certificate was not issued: ${answer.status?.err || "no reason given"}`,
    );
  }
  return Buffer.from(answer.certificate?.certificate ?? []).toString("utf8");
}

async function withClient<T>(
  address: string,
  credentials: ConstructorParameters<typeof RpcClient>[1],
  use: (client: RpcClient) => Promise<T>,
): Promise<T> {
  const client = new RpcClient(address, credentials);
  try {
    return await use(client);
  } finally {
    client.close();
  }
}

function notJoined(address: string, error: SwarmError): SwarmError {
  return new SwarmError(
    error.code,
    `could not join by ${address}: ${error.message}: give the address of a manager that runs and is reached from here`,
    { cause: error },
  );
}

/** Errors that a wait may cure: an election, a manager on its way up, a lost packet. */
export function mayPass(error: SwarmError): boolean {
  return ["Unavailable", "DeadlineExceeded", "Aborted", "ResourceExhausted"].includes(error.code);
}
