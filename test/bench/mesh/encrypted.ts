import { type Host, type Swarm, until } from "../../cluster/index.ts";
import type { PushedImages } from "../../images/index.ts";
import { type BenchRow, rowOf } from "../types.ts";
import { measurePairs } from "./pairs.ts";

const loadSeconds = 4;
/** The kernel's default, whatever the machine's is: BBR tries other rates each second or so. */
const congestionControl = "cubic";

/** Throughput of one TCP connection between tasks of an encrypted network, beside wireguard-go alone between the same hosts. */
export async function measureEncrypted(
  swarm: Swarm,
  images: PushedImages,
  pairs: number,
): Promise<readonly BenchRow[]> {
  const hosts = ["m1", "w1"].map((name) => swarm.cluster.host(name));
  await swarm.mustCtl(["network", "create", "--opt", "encrypted", "secret"]);
  const ends = await Promise.all(hosts.map((host) => startEnd(swarm, images, host)));
  const bare = await startBare(hosts);
  const [from, to] = ends as [End, End];
  const inTask = ({ pid }: End) => ["nsenter", `--net=/proc/${pid}/ns/net`];
  const name = { bench: "mesh", better: "higher", unit: "of bare wireguard-go", target: 0.9 } as const;
  const { ratios, other } = await measurePairs(
    pairs,
    () => throughput({ from, to, address: to.address, enter: inTask }),
    () => throughput({ from, to, address: bare, enter: () => [] }),
  );
  await swarm.mustCtl(["service", "rm", "from-m1", "from-w1"]);
  const row = { ...name, case: "throughput of an encrypted network" };
  return [rowOf({ ...row, other: { name: "Mbit/s bare", value: rowOf(row, other).value } }, ratios)];
}

interface End {
  readonly host: Host;
  readonly pid: number;
  readonly address: string;
}

async function startEnd(swarm: Swarm, images: PushedImages, host: Host): Promise<End> {
  const name = `from-${host.name}`;
  const flags = ["--network", "secret", "--constraint", `node.hostname==${host.name}`];
  await swarm.mustCtl(["service", "create", "--name", name, ...flags, images.tools.reference]);
  const [row] = await swarm.json<readonly { readonly id: string }[]>(["service", "ps", name]);
  type Task = {
    readonly status: { readonly container: { readonly pid: number } };
    readonly networks: readonly { readonly addresses: readonly string[] }[];
  };
  const { status, networks } = await swarm.json<Task>(["task", "inspect", row!.id]);
  return { host, pid: status.container.pid, address: networks[0]!.addresses[0]!.split("/")[0]! };
}

/** Joins two hosts by wireguard-go and nothing else; returns the second one's address there. */
async function startBare(hosts: readonly Host[]): Promise<string> {
  const keys = await Promise.all(
    hosts.map(async (host) =>
      (
        await host.mustExec([
          "bash",
          "-c",
          "umask 077; wg genkey > /run/bare.key; wg pubkey < /run/bare.key; LOG_LEVEL= wireguard-go bare >&2",
        ])
      ).trim(),
    ),
  );
  const addressOf = (i: number) => `10.11.0.${i + 1}`;
  await Promise.all(
    hosts.map((host, i) => {
      const [other, key] = [1 - i, keys[1 - i]!];
      const peer = `peer ${key} endpoint ${hosts[other]!.address}:51999 allowed-ips ${addressOf(other)}/32`;
      const set = `wg set bare listen-port 51999 private-key /run/bare.key ${peer}`;
      return host.mustExec([
        "bash",
        "-c",
        `${set}; ip addr add ${addressOf(i)}/24 dev bare; ip link set bare mtu 1420 up`,
      ]);
    }),
  );
  return addressOf(1);
}

/** Mbit/s of one TCP connection. */
async function throughput(way: {
  readonly from: End;
  readonly to: End;
  readonly address: string;
  readonly enter: (end: End) => readonly string[];
}): Promise<number> {
  const { from, to, address, enter } = way;
  const server = await to.host.spawn([...enter(to), "iperf3", "-s", "-1", "-p", "5999"]);
  const listens = async () => (await to.host.exec([...enter(to), "bash", "-c", "ss -Hltn sport = 5999"])).stdout !== "";
  await until("iperf3 listens", listens, { periodMs: 20 });
  const how = ["-C", congestionControl, "-O", "0.5", "-t", String(loadSeconds)];
  const client = ["iperf3", "-J", "-c", address, "-p", "5999", ...how];
  const output = await from.host.mustExec([...enter(from), ...client], { timeoutMs: 60_000 });
  await server.exited;
  type Report = { readonly end: { readonly sum_received: { readonly bits_per_second: number } } };
  return (JSON.parse(output) as Report).end.sum_received.bits_per_second / 1e6;
}
