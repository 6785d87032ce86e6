import { readFile, rmdir, stat, writeFile } from "node:fs/promises";
import type { Socket } from "node:net";
import { dirname, join } from "node:path";
import { runProgram } from "./binding/index.ts";
import { type ExitStatus, type ProcessSpec, readShimState } from "./bundle.ts";
import { nativeTool } from "./paths.ts";
import { connectShim } from "./shim-socket.ts";

/** The shim refused: its message says what failed; `errno` is the kernel's number, 0 when none. */
export class ShimError extends Error {
  override readonly name = "ShimError";
  readonly errno: number;
  constructor(message: string, errno = 0) {
    super(message);
    this.errno = errno;
  }
}

export interface ShimState {
  readonly state: "created" | "running" | "exited";
  /** The container's init in our PID namespace. */
  readonly pid: number;
  readonly paused: boolean;
  readonly createdAtMs: number;
  readonly startedAtMs: number;
  /** Log writes lost, for example to a full disk. */
  readonly logDroppedWrites: number;
}

export interface ShimStats {
  readonly cpuUsageNs: number;
  readonly memoryBytes: number;
  /** 0: no limit. */
  readonly memoryLimitBytes: number;
  readonly pids: number;
  readonly oomKills: number;
}

export interface ExecResult {
  readonly exitCode: number;
  readonly timedOut: boolean;
  /** Stdout and stderr as they came, cut at `outputMaxBytes`. */
  readonly output: string;
}

/**
 * Starts the shim of `bundle`, whose spec.json is there, and resolves when the container's init waits for `start`.
 * The shim outlives this process. Throws ShimError; then nothing of the container is left.
 */
export async function createContainer(bundle: string): Promise<{ readonly pid: number; readonly shimPid: number }> {
  const { code, out, err } = await runProgram(nativeTool("starling-shim"), ["create", bundle]).catch((error: Error) => {
    throw new ShimError(`starling-shim: ${error.message}`);
  });
  if (code !== 0) throw new ShimError(err.trim() || `starling-shim: ended with ${code}`);
  return JSON.parse(out) as { pid: number; shimPid: number };
}

/** A connection to the shim of one bundle. Requests may overlap. When the shim ends, those waiting reject. */
export class Shim {
  readonly #socket: Socket;
  readonly #pending = new Map<number, { resolve(value: Answer): void; reject(error: Error): void }>();
  #nextId = 1;
  #input = "";
  #ended = false;

  /** Undefined when no shim listens there: it has ended, or never began. */
  static connect(bundle: string): Promise<Shim | undefined> {
    return connectShim(bundle).then((socket) => socket && new Shim(socket));
  }

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.unref();
    socket.setEncoding("utf8");
    socket.on("data", (text: string) => this.#receive(text));
    socket.on("error", () => this.#end());
    socket.on("close", () => this.#end());
  }

  get ended(): boolean {
    return this.#ended;
  }

  async state(): Promise<ShimState> {
    return (await this.#request("state")) as unknown as ShimState;
  }

  /** Runs the program. Throws when it cannot be run (no such file, no such folder …); the container then ends with 127. */
  async start(): Promise<void> {
    await this.#request("start");
  }

  /** To the container's init. */
  async signal(number: number): Promise<void> {
    await this.#request("signal", { signal: number });
  }

  /** SIGKILL to everything inside. */
  async kill(): Promise<void> {
    await this.#request("kill");
  }

  /** Resolves when the container has ended. Rejects with ShimError when the shim itself was killed. */
  async wait(): Promise<ExitStatus> {
    return (await this.#request("wait")) as unknown as ExitStatus;
  }

  async pause(): Promise<void> {
    await this.#request("pause");
  }

  async resume(): Promise<void> {
    await this.#request("resume");
  }

  /** One more program in the container. Throws ShimError when it cannot be run; its own failure is its exit code. */
  async exec(
    process: ProcessSpec,
    options: { readonly stdin?: string; readonly outputMaxBytes?: number; readonly timeoutMs?: number } = {},
  ): Promise<ExecResult> {
    return (await this.#request("exec", { process, ...options })) as unknown as ExecResult;
  }

  async stats(): Promise<ShimStats> {
    return (await this.#request("stats")) as unknown as ShimStats;
  }

  /** Process ids inside, in our PID namespace. */
  async top(): Promise<readonly number[]> {
    return ((await this.#request("top")) as unknown as { readonly pids: readonly number[] }).pids;
  }

  async resize(size: { readonly rows: number; readonly columns: number }): Promise<void> {
    await this.#request("resize", size);
  }

  /** Gives the connection up; the container goes on. */
  close(): void {
    this.#socket.destroy();
    this.#end();
  }

  #request(op: string, members: object = {}): Promise<Answer> {
    if (this.#ended) return Promise.reject(new ShimError("shim: has ended"));
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      this.#socket.ref();
      this.#socket.write(`${JSON.stringify({ v: 1, id, op, ...members })}\n`);
    });
  }

  #receive(text: string): void {
    this.#input += text;
    for (;;) {
      const end = this.#input.indexOf("\n");
      if (end < 0) return;
      const answer = JSON.parse(this.#input.slice(0, end)) as Answer;
      this.#input = this.#input.slice(end + 1);
      const waiting = this.#pending.get(answer.id);
      this.#pending.delete(answer.id);
      if (this.#pending.size === 0) this.#socket.unref();
      if (answer.ok) waiting?.resolve(answer);
      else waiting?.reject(new ShimError(String(answer["error"]), Number(answer["errno"] ?? 0)));
    }
  }

  #end(): void {
    this.#ended = true;
    const waiting = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject } of waiting) reject(new ShimError("shim: has ended"));
  }
}

interface Answer {
  readonly id: number;
  readonly ok: boolean;
  readonly [member: string]: unknown;
}

/** How long a shim may take to end by itself once its container has ended. */
const shimEndMs = 2_000;
const pollMs = 5;

/**
 * Ends whatever is left of a bundle's container and its shim, and removes its cgroups; for a shim that was killed or
 * hangs, and to be sure after one that ends by itself. The bundle's files stay.
 */
export async function killLeftovers(bundle: string): Promise<void> {
  const state = await readShimState(bundle);
  if (state === undefined) return;
  const { shimPid, cgroups } = state;
  const isOther = await isOfAnother(shimPid, bundle);
  for (let waitedMs = 0; ; waitedMs += pollMs) {
    const gone = isOther || (await hasEnded(shimPid));
    if (gone && (await removeGroups(cgroups))) {
      await Promise.all(cgroups.map(removeEmptyParents));
      return;
    }
    if (!gone && waitedMs >= shimEndMs) killQuietly(shimPid);
    if (waitedMs > 3 * shimEndMs) {
      throw new ShimError(`cgroups of ${bundle} cannot be removed: processes inside do not end`);
    }
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}

/** Gone, or a zombie that its parent has not collected yet. */
async function hasEnded(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  return stat === "" || /\) [ZX] /.test(stat);
}

/** The groups of shims and of all containers go with the last of them; refused while there are others. */
async function removeEmptyParents(group: string): Promise<void> {
  const containers = dirname(group);
  await rmdir(join(containers, "shims")).catch(() => {});
  await rmdir(containers).catch(() => {});
}

/** True when all are gone. Kills what is inside first. */
async function removeGroups(folders: readonly string[]): Promise<boolean> {
  let gone = true;
  for (const folder of folders) {
    try {
      await rmdir(folder);
      continue;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") continue;
    }
    gone = false;
    for (const pid of (await readFile(join(folder, "cgroup.procs"), "utf8").catch(() => "")).split("\n")) {
      if (pid !== "") killQuietly(Number(pid));
    }
    // v2 only; absent on v1.
    await writeFile(join(folder, "cgroup.kill"), "1").catch(() => {});
  }
  return gone;
}

/**
 * Pids are used again: only a process whose working folder is this bundle is the shim of this bundle. One that has none is
 * on its way out, and still in its cgroups.
 */
async function isOfAnother(pid: number, bundle: string): Promise<boolean> {
  const there = await folderKey(bundle);
  const here = await folderKey(`/proc/${pid}/cwd`).catch(() => there);
  return here !== there;
}

async function folderKey(folder: string): Promise<string> {
  const info = await stat(folder, { bigint: true });
  return `${info.dev}:${info.ino}`;
}

function killQuietly(pid: number): void {
  // 0 is a process that this PID namespace does not see; to kill(2) it means ourselves.
  if (pid <= 0) return;
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // Ended already.
  }
}
