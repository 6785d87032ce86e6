import { readdir, readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { readExitStatus, readShimState } from "@starling/native";

/** image.json in a container's data folder: what it was made from. */
interface UsageFile {
  readonly version: 1;
  readonly taskName: string;
  readonly digest: string;
}

/** What the containers on this host were made from. */
export interface ImageUsage {
  /** By manifest digest: names of the tasks whose containers live, or may still start; and of those that have ended. */
  readonly images: ReadonlyMap<string, { readonly running: readonly string[]; readonly ended: readonly string[] }>;
  /** Names of layer folders of containers that do not say which image they are of. */
  readonly layers: ReadonlySet<string>;
}

/** To be called before the container of a data folder is made. */
export async function writeUsage(dataFolder: string, usage: Omit<UsageFile, "version">): Promise<void> {
  await writeFile(join(dataFolder, "image.json"), JSON.stringify({ version: 1, ...usage }));
}

/** Looks through the folders of all containers. `stateDir` and `runDir` as ContainerExecutor's. */
export async function readUsage(stateDir: string, runDir: string): Promise<ImageUsage> {
  const images = new Map<string, { running: string[]; ended: string[] }>();
  const layers = new Set<string>();
  for (const taskId of await readdir(join(stateDir, "containers"))) {
    const bundle = join(runDir, "containers", taskId);
    const usage = await readUsageFile(join(stateDir, "containers", taskId));
    // Before it has a shim, whoever makes it holds its image.
    const hasEnded = (await readShimState(bundle)) === undefined || (await readExitStatus(bundle)) !== undefined;
    if (usage !== undefined) {
      const tasks = images.get(usage.digest) ?? { running: [], ended: [] };
      images.set(usage.digest, tasks);
      (hasEnded ? tasks.ended : tasks.running).push(usage.taskName);
    } else if (!hasEnded) {
      for (const layer of await layersOf(bundle)) layers.add(layer);
    }
  }
  return { images, layers };
}

async function readUsageFile(dataFolder: string): Promise<UsageFile | undefined> {
  try {
    const usage = JSON.parse(await readFile(join(dataFolder, "image.json"), "utf8")) as UsageFile;
    return usage.version === 1 ? usage : undefined;
  } catch {
    // Of an earlier version, or torn: its layers are looked up instead.
    return undefined;
  }
}

async function layersOf(bundle: string): Promise<readonly string[]> {
  try {
    const spec = JSON.parse(await readFile(join(bundle, "spec.json"), "utf8")) as {
      root: { layers?: readonly string[] };
    };
    return (spec.root.layers ?? []).map((path) => basename(path));
  } catch {
    // Torn or gone meanwhile: it does not run.
    return [];
  }
}
