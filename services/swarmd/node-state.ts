import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { SwarmError } from "@starling/base";

const version = 1;

/** What a node remembers besides its identity: the managers it was last told of. */
export interface NodeState {
  readonly managers: readonly string[];
}

/** `<stateDir>/node.json`; nothing known when it is not there. Throws FailedPrecondition for a newer format. */
export async function readNodeState(stateDir: string): Promise<NodeState> {
  const path = join(stateDir, "node.json");
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return { managers: [] };
    throw thrown;
  }
  try {
    const value = JSON.parse(text) as { version?: unknown; managers?: unknown };
    if (typeof value.version === "number" && value.version > version) {
      throw new SwarmError(
        "FailedPrecondition",
        `${path}: format ${value.version} is newer than this swarmd: update it`,
      );
    }
    const managers = Array.isArray(value.managers) ? value.managers.filter((item) => typeof item === "string") : [];
    return { managers };
  } catch (thrown) {
    if (thrown instanceof SwarmError) throw thrown;
    return { managers: [] }; // Only a hint, rewritten at the next session: a damaged one is as good as none.
  }
}

export async function writeNodeState(stateDir: string, state: NodeState): Promise<void> {
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  const temporary = join(stateDir, "node.json.tmp");
  await writeFile(temporary, JSON.stringify({ version, ...state }), { mode: 0o600 });
  await rename(temporary, join(stateDir, "node.json"));
}
