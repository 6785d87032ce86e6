import { type Host, type Swarm, startLoad, until } from "../../cluster/index.ts";
import type { PushedImages } from "../../images/index.ts";
import { type BenchRow, rowOf } from "../types.ts";
import { measurePairs } from "./pairs.ts";
import { makeWayByHand, removeWayByHand } from "./way-by-hand.ts";

const loadMs = 2_000;
const server = "w1";

/** One way to a task on `w1`. */
interface Way {
  readonly what: string;
  readonly url: string;
  /** Of requests on kept connections, to straight. */
  readonly target?: number;
}

/**
 * Requests a second by the mesh, to a task on another host than was asked and to one on the same, beside a task whose port is
 * published on its own host alone ("straight"): on connections that are kept, and with a new one for each. Each way has a task of its own: a
 * client that reuses its ports sooner than connections are forgotten would meet at one task, under the same port, what it sent there by
 * another way (RFC 6191).
 */
export async function measureRequests(swarm: Swarm, images: PushedImages, pairs: number): Promise<readonly BenchRow[]> {
  const { cluster } = swarm;
  const client = cluster.host("reg");
  const publish = (name: string, ...flags: readonly string[]) => {
    const where = ["--constraint", `node.hostname==${server}`];
    return swarm.mustCtl(["service", "create", "--name", name, ...flags, ...where, images.web1.reference]);
  };
  await publish("straight", "-p", "published=8090,target=80,mode=host");
  await publish("by-hand", "-p", "published=8091,target=80,mode=host");
  await publish("on-host", "--network", "host");
  await publish("remote", "-p", "8092:80");
  await publish("local", "-p", "8093:80");
  const task = await wayOutOf(swarm, "by-hand");
  const wayByHand = { client, entry: cluster.host("e1"), server: cluster.host(server), task };
  const byHand: Way = {
    what: "by a way made by hand, without rules",
    url: `http://${await makeWayByHand(wayByHand)}:8091/`,
  };
  const remote: Way = { what: "by the mesh to a remote task", url: "http://m1:8092/", target: 0.8 };
  const local: Way = { what: "by the mesh to a local task", url: `http://${server}:8093/`, target: 0.95 };
  const onHost: Way = { what: "to a server on the host's network", url: `http://${server}:80/` };
  const rows: BenchRow[] = [];
  const measure = async ({ what, url, target }: Way, kept: boolean): Promise<void> => {
    const rate = (of: string) => () => requestsPerSecond(client, of, kept);
    const { ratios, other } = await measurePairs(pairs, rate(url), rate(`http://${server}:8090/`));
    const counted = kept ? "requests on kept connections" : "new connections, a request each";
    const name = { bench: "mesh", better: "higher", unit: "of straight", case: `${counted}: ${what}` } as const;
    const straight = rowOf(name, other).value;
    const goal = kept && target !== undefined ? { target } : {};
    rows.push(rowOf({ ...name, ...goal, other: { name: "a second straight", value: straight } }, ratios));
  };
  for (const way of [remote, local, byHand, onHost]) await measure(way, true);
  for (const way of [remote, local, byHand]) await measure(way, false);
  await removeWayByHand(wayByHand);
  await swarm.mustCtl(["service", "rm", "straight", "by-hand", "on-host", "remote", "local"]);
  return rows;
}

async function requestsPerSecond(client: Host, url: string, kept: boolean): Promise<number> {
  const load = await startLoad(client, url, { kept });
  await new Promise((resolve) => setTimeout(resolve, loadMs));
  const { perSecond, errors } = await load.finish();
  if (errors !== "") throw new Error(`${url}: ${errors}`);
  return perSecond;
}

/** The address that the service's task has on its host alone. */
async function wayOutOf(swarm: Swarm, service: string): Promise<string> {
  type Row = { readonly id: string; readonly currentState: string };
  const row = await until(`${service} runs`, async () =>
    (await swarm.json<readonly Row[]>(["service", "ps", service])).find((one) => one.currentState === "RUNNING"),
  );
  type Task = { readonly status: { readonly container: { readonly pid: number } } };
  const { status } = await swarm.json<Task>(["task", "inspect", row!.id]);
  const command = ["nsenter", `--net=/proc/${status.container.pid}/ns/net`, "ip", "-4", "-o", "addr", "show", "eth0"];
  const [, address] = /inet ([\d.]+)/.exec(await swarm.cluster.host(server).mustExec(command)) ?? [];
  if (address === undefined) throw new Error(`the task of ${service} has no address on its host`);
  return address;
}
