import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SwarmError } from "@starling/base";
import { bootId, identify, type ProcessIdentity } from "./identity.ts";
import { recordsFolder } from "./paths.ts";
import type { HostPlan } from "./plan.ts";

/** What a later process must know to use or end a cluster. Written before anything of the cluster is made. */
export interface ClusterRecord {
  readonly version: 1;
  readonly name: string;
  readonly bootId: string;
  /** The process whose end makes the cluster garbage; absent for a cluster that is kept until someone takes it down. */
  readonly owner?: ProcessIdentity;
  readonly hosts: readonly HostPlan[];
  /** Folders of the cgroups that the host (or "switch") gets. */
  readonly cgroups: Readonly<Record<string, readonly string[]>>;
}

/** The changing part, one file per host, so that two processes may act on two hosts. */
export interface HostRecord {
  /** The host's first process; absent while the host is down. */
  readonly init?: ProcessIdentity;
}

export function clusterFolder(name: string): string {
  return join(recordsFolder, name);
}

/** Registers a new cluster; throws AlreadyExists if one of that name is registered. */
export function addCluster(record: ClusterRecord, files: Readonly<Record<string, string>>): void {
  const folder = clusterFolder(record.name);
  const unfinished = join(recordsFolder, `.${record.name}.${process.pid}`);
  rmSync(unfinished, { recursive: true, force: true });
  mkdirSync(unfinished, { recursive: true });
  writeFileSync(join(unfinished, "cluster.json"), JSON.stringify(record, undefined, 2));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(unfinished, name), text);
  try {
    renameSync(unfinished, folder);
  } catch (error) {
    rmSync(unfinished, { recursive: true, force: true });
    throw new SwarmError(
      "AlreadyExists",
      `cluster "${record.name}" exists: take it down first (npm run cluster -- down --name ${record.name})`,
      { cause: error },
    );
  }
}

/** The registered cluster `name`; undefined if there is none. */
export function readCluster(name: string): ClusterRecord | undefined {
  const file = join(clusterFolder(name), "cluster.json");
  const text = readIfThere(file);
  if (text === undefined) return undefined;
  const record = JSON.parse(text) as ClusterRecord;
  if (record.version !== 1) {
    throw new SwarmError("FailedPrecondition", `${file}: version ${record.version} is newer than this program's, 1`);
  }
  return record;
}

export function listClusters(): readonly ClusterRecord[] {
  if (!existsSync(recordsFolder)) return [];
  return readdirSync(recordsFolder)
    .filter((name) => !name.startsWith("."))
    .map(readCluster)
    .filter((record) => record !== undefined);
}

/** Removes what a process left that was killed while it registered a cluster; nothing of the cluster exists yet then. */
export function removeUnfinished(): void {
  if (!existsSync(recordsFolder)) return;
  for (const entry of readdirSync(recordsFolder).filter((name) => name.startsWith("."))) {
    const maker = Number(entry.slice(entry.lastIndexOf(".") + 1));
    if (!identify(maker)) rmSync(join(recordsFolder, entry), { recursive: true, force: true });
  }
}

export function readHost(cluster: ClusterRecord, host: string): HostRecord {
  if (cluster.bootId !== bootId()) return {};
  return JSON.parse(readIfThere(join(clusterFolder(cluster.name), `${host}.json`)) ?? "{}") as HostRecord;
}

export function writeHost(cluster: ClusterRecord, host: string, record: HostRecord): void {
  const file = join(clusterFolder(cluster.name), `${host}.json`);
  writeFileSync(`${file}.${process.pid}`, JSON.stringify(record));
  renameSync(`${file}.${process.pid}`, file);
}

function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
