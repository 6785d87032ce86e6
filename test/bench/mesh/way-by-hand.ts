import type { Host } from "../../cluster/index.ts";

/** Hosts of the way: `client` asks `entry`, which knows `server`. */
export interface WayByHand {
  readonly client: Host;
  readonly entry: Host;
  readonly server: Host;
  /** Address of the task there that is asked: answers of others go their own way. */
  readonly task: string;
}

const asked = "10.66.0.1";
const [entryEnd, serverEnd] = ["10.66.1.1", "10.66.1.2"];

/**
 * The least that a mesh must do: the entry forwards requests by VXLAN to the server's host and answers come back the same way, with
 * no balancing, no address translation and no rule at the entry. Returns the address by which the server's host is asked so.
 */
export async function makeWayByHand({ client, entry, server, task }: WayByHand): Promise<string> {
  const tunnel = (from: Host, to: Host, end: string) =>
    `ip link add hand type vxlan id 77 local ${from.address} remote ${to.address} dstport 4799 && ` +
    `ip addr add ${end}/24 dev hand && ip link set hand up`;
  // Else the entry tells the client of the way without it.
  const plain =
    "sysctl -qw net.ipv4.ip_forward=1 && for f in /proc/sys/net/ipv4/conf/*/send_redirects; do echo 0 > $f; done";
  await sh(entry, `${plain} && ${tunnel(entry, server, entryEnd)} && ip route add ${asked} via ${serverEnd}`);
  await sh(
    server,
    `${tunnel(server, entry, serverEnd)} && ip addr add ${asked}/32 dev lo && ip route add default via ${entryEnd} table 77 && ` +
      `ip rule add from ${task} to ${client.address} lookup 77`,
  );
  await sh(client, `ip route add ${asked} via ${entry.address}`);
  return asked;
}

/** Undoes it where tasks are. */
export async function removeWayByHand({ client, server, task }: WayByHand): Promise<void> {
  await sh(client, `ip route del ${asked}`);
  await sh(
    server,
    `ip rule del from ${task} to ${client.address} lookup 77; ip link del hand; ip addr del ${asked}/32 dev lo`,
  );
}

const sh = (host: Host, script: string): Promise<string> => host.mustExec(["bash", "-ec", script]);
