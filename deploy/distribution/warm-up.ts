/**
 * `node warm-up.ts DISTRIBUTION`, in network, mount and pid namespaces of its own: runs a small swarm and its commands, so that
 * the programs' code caches hold what nodes do when they start, join, and get work. Every process takes over the caches
 * there are and adds to them at its end, so their order matters and no two that write end at once.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const distribution = process.argv[2]!;
const scratch = mkdtempSync(join(tmpdir(), "starling-warm-up-"));
const patienceMs = 20_000;
const children = new Set<ChildProcess>();

/** Of the loader: "write" adds what a process called to the caches, "check" refuses those that Node does not take. */
type Caches = "" | "write" | "check";

interface Node {
  readonly name: string;
  readonly address: string;
  readonly socket: string;
  readonly process: ChildProcess;
}

function startNode(
  name: string,
  ip: string,
  caches: Caches,
  via?: { readonly node: Node; readonly token: string },
): Node {
  const address = `${ip}:4242`;
  const socket = join(scratch, `${name}.sock`);
  const flags = {
    "--state-dir": join(scratch, name),
    "--run-dir": join(scratch, `${name}.run`),
    "--hostname": name,
    "--listen-remote-api": address,
    "--listen-control-api": socket,
    "--listen-metrics": `${ip}:9090`,
    ...(via && { "--join-addr": via.node.address, "--join-token": via.token }),
  };
  const log = openSync(join(scratch, `${name}.log`), "w");
  const child = spawn(join(distribution, "bin/swarmd"), Object.entries(flags).flat(), {
    env: { ...process.env, STARLING_CODE_CACHE: caches },
    stdio: ["ignore", log, log],
  });
  children.add(child);
  return { name, address, socket, process: child };
}

async function endNode({ process: child }: Node): Promise<void> {
  if (child.exitCode !== null) return;
  child.kill("SIGTERM");
  await once(child, "exit");
}

function ctl(node: Node, words: string, caches: Caches = "write"): string {
  return execFileSync(join(distribution, "bin/swarmctl"), ["--socket", node.socket, ...words.split(" ")], {
    encoding: "utf8",
    env: { ...process.env, STARLING_CODE_CACHE: caches },
    stdio: ["ignore", "pipe", "pipe"],
  });
}

async function until(what: string, holds: () => boolean): Promise<void> {
  const end = performance.now() + patienceMs;
  for (let why = ""; ; await sleep(100)) {
    try {
      if (holds()) return;
    } catch (error) {
      why = (error as Error).message;
    }
    if (performance.now() > end) throw new Error(`${what}: not so after ${patienceMs} ms. ${why}`);
  }
}

const ready = (on: Node, count: number) =>
  until(`${count} nodes are ready`, () => ctl(on, "node ls").match(/\bReady\b/g)?.length === count);

/** A swarm of one, a node that joins it, and what operators do most. Of one of the two nodes the caches take over what it called. */
async function runSwarm(role: "manager" | "worker", writer: "first" | "joiner"): Promise<void> {
  const first = startNode(`first-${role}`, "127.0.0.1", writer === "first" ? "write" : "");
  await ready(first, 1);
  const token = ctl(first, `cluster join-token ${role} -q`).trim();
  const joiner = startNode(`joining-${role}`, "127.0.0.2", writer === "joiner" ? "write" : "", { node: first, token });
  await ready(first, 2);
  ctl(first, "network create backend");
  // The image cannot be had: a machine that builds may have no registry.
  ctl(first, "service create --detach --name web --replicas 4 --network backend --publish 8080:80 127.0.0.1:1/none:1");
  for (const what of [
    "service ls",
    "service ps web",
    "service inspect web",
    "network ls",
    `node inspect first-${role}`,
  ])
    ctl(first, what);
  ctl(first, "service scale --detach web=2");
  ctl(first, "service update --detach --env-add A=B web");
  ctl(first, "service rm web");
  await endNode(joiner);
  await endNode(first);
}

/** Both programs take the caches that there are now. */
async function check(): Promise<void> {
  const node = startNode("checked", "127.0.0.1", "check");
  await until("a node starts with its code caches", () => ctl(node, "node ls", "check").includes("Ready"));
  await endNode(node);
}

try {
  execFileSync("ip", ["link", "set", "lo", "up"]);
  await runSwarm("manager", "joiner");
  await runSwarm("worker", "first");
  await check();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
} finally {
  for (const child of children) child.kill("SIGKILL");
  for (const name of readdirSync(scratch).filter((each) => process.exitCode && each.endsWith(".log"))) {
    console.error(`--- ${name}\n${readFileSync(join(scratch, name), "utf8").split("\n").slice(-20).join("\n")}`);
  }
  rmSync(scratch, { recursive: true, force: true });
}
