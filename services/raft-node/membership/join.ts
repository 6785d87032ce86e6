import { isIP } from "node:net";
import type { ChannelCredentials } from "@grpc/grpc-js";
import {
  Health,
  HealthCheckRequest,
  HealthCheckResponse_ServingStatus,
  JoinRequest,
  type JoinResponse,
  RaftMembership,
} from "@starling/api";
import { RpcClient } from "@starling/api/rpc";
import { SwarmError } from "@starling/base";

const healthTimeoutMs = 5_000;
const joinTimeoutMs = 10_000;

/**
 * Asks the cluster, through any of its managers at `remote`, to take this node in as a raft member reachable at `addr`.
 * Before the call this node must serve Health "Raft" at `addr`: the leader dials back. Rejects with the leader's refusal.
 */
export async function joinCluster(options: {
  readonly remote: string;
  readonly addr: string;
  readonly credentials: ChannelCredentials;
  readonly signal?: AbortSignal;
}): Promise<JoinResponse> {
  const client = new RpcClient(options.remote, options.credentials);
  try {
    await client.waitReady(healthTimeoutMs);
    const response = await client.call(RaftMembership.methods.join, JoinRequest.create({ addr: options.addr }), {
      timeoutMs: joinTimeoutMs,
      ...(options.signal ? { signal: options.signal } : {}),
    });
    if (response.raftId === 0n)
      throw new SwarmError("Internal", `manager ${options.remote} answered without a raft id`);
    return response;
  } finally {
    client.close();
  }
}

/**
 * The address under which the others will reach a joiner: an unspecified IP (0.0.0.0, ::) is replaced by the one it calls
 * from. Throws InvalidArgument unless `addr` is `host:port`.
 */
export function memberAddress(addr: string, remoteAddress: string): string {
  const asked = splitHostPort(addr);
  if (asked === undefined) {
    throw new SwarmError("InvalidArgument", `invalid address ${addr} in raft join request: give it as host:port`);
  }
  if (!isUnspecified(asked.host)) return addr;
  const caller = splitHostPort(remoteAddress);
  if (caller === undefined) {
    throw new SwarmError(
      "InvalidArgument",
      `address ${addr} in raft join request names no host, and the caller has none`,
    );
  }
  // A dual-stack socket reports IPv4 callers in IPv6 form.
  const host = caller.host.replace(/^::ffff:(?=\d+\.)/, "");
  return isIP(host) === 6 ? `[${host}]:${asked.port}` : `${host}:${asked.port}`;
}

/** Resolves when the node at `addr` says that its raft is up. Rejects Unavailable naming the address. */
export async function checkHealth(addr: string, credentials: ChannelCredentials): Promise<void> {
  const client = new RpcClient(addr, credentials);
  try {
    await client.waitReady(healthTimeoutMs);
    const request = HealthCheckRequest.create({ service: "Raft" });
    const { status } = await client.call(Health.methods.check, request, { timeoutMs: healthTimeoutMs });
    if (status === HealthCheckResponse_ServingStatus.SERVING) return;
    throw new SwarmError("Unavailable", `health check returned status ${status}`);
  } catch (cause) {
    const text = `could not connect to prospective new cluster member using its advertised address ${addr}`;
    throw new SwarmError("Unavailable", `${text}: ${SwarmError.from(cause).message}`, { cause });
  } finally {
    client.close();
  }
}

function isUnspecified(host: string): boolean {
  if (isIP(host) === 4) return host === "0.0.0.0";
  return isIP(host) === 6 && /^[0:]+$/.test(host);
}

function splitHostPort(addr: string): { readonly host: string; readonly port: string } | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:]*)):(\d{1,5})$/.exec(addr);
  if (match) return { host: match[1] ?? match[2]!, port: match[3]! };
  // grpc-js reports IPv6 peers without brackets.
  const bare = /^([0-9a-fA-F:.]+):(\d{1,5})$/.exec(addr);
  return bare && isIP(bare[1]!) === 6 ? { host: bare[1]!, port: bare[2]! } : undefined;
}
