import type { Clock, Millis } from "@starling/base";
import { decodeReplies, runSteps, sockDiag } from "@starling/native/net";

const pollMs: Millis = 50;
/** Looks without a connection that make sure that none is on its way. */
const quietLooks = 3;
const { TcpState } = sockDiag;
/** Connections that a server's end would break, and the listeners that they belong to. */
const states = Object.values(TcpState);

/** How many TCP connections from outside the namespace the servers among `sockets` have. Pure. */
export function servedConnections(sockets: readonly sockDiag.TcpSocket[]): number {
  const served = new Set(sockets.filter(isServer).map(({ localPort }) => localPort));
  return sockets.filter(
    ({ state, localPort, peer }) => state !== TcpState.listen && served.has(localPort) && !isLocal(peer),
  ).length;
}

const isLocal = (address: string): boolean => address.startsWith("127.") || address === "::1";
/** Our own name server's listener is on a loopback address, too. */
const isServer = ({ state, local }: sockDiag.TcpSocket): boolean => state === TcpState.listen && !isLocal(local);

/** Resolves when no server in the namespace has a connection from outside (seen a few times, as one may be on its way), at the latest after `drainMs`. */
export async function untilIdle(
  netnsPath: string,
  options: { readonly clock: Clock; readonly drainMs: Millis; readonly signal: AbortSignal },
): Promise<void> {
  const { clock, drainMs, signal } = options;
  const end = clock.monotonic() + drainMs;
  for (let quiet = 0; ; ) {
    const sockets = await listSockets(netnsPath);
    if (!sockets.some(isServer)) return;
    quiet = servedConnections(sockets) === 0 ? quiet + 1 : 0;
    const left = end - clock.monotonic();
    if (quiet === quietLooks || (quiet === 0 && left <= 0) || signal.aborted) return;
    await clock.sleep(quiet === 0 ? Math.min(pollMs, left) : pollMs, signal).catch(() => {}); // Aborted: seen above.
  }
}

async function listSockets(netnsPath: string): Promise<readonly sockDiag.TcpSocket[]> {
  const requests = sockDiag.getSockets(states);
  const [{ replies }] = await runSteps(netnsPath, [{ type: "netlink", protocol: sockDiag.protocol, requests }]);
  return sockDiag.decodeSockets(decodeReplies(replies));
}
