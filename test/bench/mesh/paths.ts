import { type Host, type Swarm, startLoad, until } from "../../cluster/index.ts";
import type { PushedImages } from "../../images/index.ts";
import { type BenchRow, rowOf } from "../types.ts";
import { makeWayByHand, removeWayByHand } from "./way-by-hand.ts";

const loadMs = 3_000;
const pairsOf = (rounds: number) => Array.from({ length: rounds }, (_, round) => round);

/** The median of ratios, each of two runs one after the other: what the machine does meanwhile touches both. */
async function ratio(
  rounds: number,
  ours: () => Promise<number>,
  straight: () => Promise<number>,
): Promise<{ readonly ratios: readonly number[]; readonly straight: number }> {
  const ratios: number[] = [];
  let last = 0;
  for (const round of pairsOf(rounds)) {
    const first = round % 2 === 0 ? await ours() : 0;
    last = await straight();
    ratios.push((round % 2 === 0 ? first : await ours()) / last);
  }
  return { ratios, straight: last };
}

/**
 * Requests a second by the mesh, to a task on another host than was asked and to one on the same, beside a task whose port is
 * published on its own host alone. Each way has a task of its own: a client that reuses its ports sooner than connections are
 * forgotten would meet at one task, under the same port, what it sent there by another way (RFC 6191).
 */
export async function measureMesh(swarm: Swarm, images: PushedImages, rounds: number): Promise<readonly BenchRow[]> {
  const { cluster } = swarm;
  const publish = (name: string, ...flags: readonly string[]) =>
    swarm.mustCtl([
      "service",
      "create",
      "--name",
      name,
      ...flags,
      "--constraint",
      "node.hostname==w1",
      images.web1.reference,
    ]);
  await publish("straight", "-p", "published=8090,target=80,mode=host");
  await publish("by-hand", "-p", "published=8091,target=80,mode=host");
  await publish("on-host", "--network", "host");
  await publish("remote", "-p", "8092:80");
  await publish("local", "-p", "8093:80");
  const rate = (url: string) => async () => {
    const load = await startLoad(cluster.host("reg"), url);
    await new Promise((resolve) => setTimeout(resolve, loadMs));
    const { perSecond, errors } = await load.finish();
    if (errors !== "") throw new Error(`${url}: ${errors}`);
    return perSecond;
  };
  const rows: BenchRow[] = [];
  const measure = async (what: string, url: string, target?: number): Promise<void> => {
    const { ratios, straight } = await ratio(rounds, rate(url), rate("http://w1:8090/"));
    const name = { bench: "mesh", case: what, better: "higher", unit: "of straight" } as const;
    const other = { name: "requests/s straight", value: straight };
    rows.push(rowOf({ ...name, ...(target === undefined ? {} : { target }), other }, ratios));
  };
  await measure("requests by the mesh to a remote task", "http://m1:8092/", 0.8);
  await measure("requests by the mesh to a local task", "http://w1:8093/", 0.95);
  await measure("requests to a server on the host's network", "http://w1:80/");
  const client = cluster.host("reg");
  const way = { client, entry: cluster.host("e1"), server: cluster.host("w1") };
  const address = await makeWayByHand(way);
  await measure("requests by a way made by hand, without rules", `http://${address}:8091/`);
  await removeWayByHand(way);
  await swarm.mustCtl(["service", "rm", "straight", "by-hand", "on-host", "remote", "local"]);
  return rows;
}

/** Throughput of one TCP connection between tasks of an encrypted network, beside wireguard-go alone between the same hosts. */
export async function measureEncrypted(
  swarm: Swarm,
  images: PushedImages,
  rounds: number,
): Promise<readonly BenchRow[]> {
  const hosts = ["m1", "w1"].map((name) => swarm.cluster.host(name));
  await swarm.mustCtl(["network", "create", "--opt", "encrypted", "secret"]);
  const ends = await Promise.all(hosts.map((host) => startEnd(swarm, images, host)));
  const bare = await startBare(hosts);
  const [from, to] = ends as [End, End];
  const inTask = ({ pid }: End) => ["nsenter", `--net=/proc/${pid}/ns/net`];
  const name = { bench: "mesh", better: "higher", unit: "of bare wireguard-go", target: 0.9 } as const;
  const { ratios, straight } = await ratio(
    rounds,
    () => throughput({ from, to, address: to.address, enter: inTask }),
    () => throughput({ from, to, address: bare, enter: () => [] }),
  );
  await swarm.mustCtl(["service", "rm", "from-m1", "from-w1"]);
  const other = { name: "Mbit/s bare", value: straight };
  return [rowOf({ ...name, case: "throughput of an encrypted network", other }, ratios)];
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
  const client = ["iperf3", "-J", "-c", address, "-p", "5999", "-t", String(loadMs / 1_000)];
  const output = await from.host.mustExec([...enter(from), ...client], { timeoutMs: 60_000 });
  await server.exited;
  type Report = { readonly end: { readonly sum_received: { readonly bits_per_second: number } } };
  return (JSON.parse(output) as Report).end.sum_received.bits_per_second / 1e6;
}
