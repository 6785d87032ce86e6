import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { Task } from "@starling/api";
import { type Logger, SwarmError } from "@starling/base";

const formatVersion = 1;
const header = /^starling-task (\d+) ([0-9a-f]{8})\n/;

/**
 * The node's assigned tasks with their last status, one file each: `<directory>/<task id>.<n>`, a line
 * `starling-task <version> <crc32>` and the Task message. Each write makes the next file and removes the one before, so a
 * whole one is there whenever swarmd ends; to rename over a file would have the file system flush it, which takes twenty
 * times as long and the disk from raft's log. Not synced: after a power cut no process of it lives, and a damaged file is
 * dropped.
 */
export class TaskDb {
  readonly #directory: string;
  readonly #log: Logger;
  /** `n` of each task's file. */
  readonly #files = new Map<string, number>();
  /** What is to be written next, by task id; undefined deletes. One write per task is under way at a time. */
  readonly #next = new Map<string, Task | undefined>();
  readonly #writing = new Map<string, Promise<void>>();

  constructor(directory: string, log: Logger) {
    this.#directory = directory;
    this.#log = log;
  }

  /** All tasks on disk. Throws FailedPrecondition for a file of a newer version than this program knows. */
  async load(): Promise<Task[]> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    const tasks = new Map<string, Task>();
    for (const { name, id, n } of newestFirst(await readdir(this.#directory))) {
      const path = join(this.#directory, name);
      // Older than a whole one: swarmd ended between a write and the removal of the file before.
      const task = tasks.has(id) ? undefined : decode(path, await readFile(path));
      if (task !== undefined) {
        tasks.set(id, task);
        this.#files.set(id, n);
        continue;
      }
      if (!tasks.has(id)) this.#log.warn("damaged task file dropped", { path });
      await rm(path, { force: true });
    }
    return [...tasks.values()];
  }

  /** Keeps `task`; of several puts of one task that come quickly only the last is written. */
  put(task: Task): void {
    this.#enqueue(task.id, task);
  }

  delete(taskId: string): void {
    this.#enqueue(taskId, undefined);
  }

  /** Resolves when what was put of a task is in its file. */
  async saved(taskId: string): Promise<void> {
    await this.#writing.get(taskId);
  }

  /** Resolves when all that was put is on disk. */
  async flush(): Promise<void> {
    while (this.#writing.size > 0) await Promise.all(this.#writing.values());
  }

  #enqueue(taskId: string, task: Task | undefined): void {
    this.#next.set(taskId, task);
    if (this.#writing.has(taskId)) return;
    const writing = this.#drain(taskId).finally(() => this.#writing.delete(taskId));
    this.#writing.set(taskId, writing);
  }

  async #drain(taskId: string): Promise<void> {
    while (this.#next.has(taskId)) {
      const task = this.#next.get(taskId);
      this.#next.delete(taskId);
      try {
        await this.#write(taskId, task);
      } catch (error) {
        // A full disk must not stop tasks; what is lost is only knowledge after a restart.
        this.#log.error("task not saved", { "task.id": taskId, error });
      }
    }
  }

  async #write(taskId: string, task: Task | undefined): Promise<void> {
    const known = this.#files.get(taskId);
    const path = (n: number) => join(this.#directory, `${taskId}.${n}`);
    if (task !== undefined) {
      const next = (known ?? 0) + 1;
      await writeFile(path(next), encode(task), { mode: 0o600 });
      this.#files.set(taskId, next);
    } else this.#files.delete(taskId);
    if (known !== undefined) await rm(path(known), { force: true });
  }
}

/** What the folder holds of tasks, each task's newest file first. */
function newestFirst(
  names: readonly string[],
): readonly { readonly name: string; readonly id: string; readonly n: number }[] {
  const files = names.map((name) => {
    const dot = name.lastIndexOf(".");
    return { name, id: name.slice(0, dot), n: Number(name.slice(dot + 1)) };
  });
  return files.sort((a, b) => b.n - a.n);
}

function encode(task: Task): Buffer {
  const body = Task.encode(task);
  const sum = crc32(body).toString(16).padStart(8, "0");
  return Buffer.concat([Buffer.from(`starling-task ${formatVersion} ${sum}\n`), body]);
}

function decode(path: string, content: Buffer): Task | undefined {
  const found = header.exec(content.subarray(0, 64).toString("latin1"));
  if (found === null) return undefined;
  if (Number(found[1]) > formatVersion) {
    throw new SwarmError(
      "FailedPrecondition",
      `${path}: task file of version ${found[1]}, this swarmd reads up to ${formatVersion}: run the newer swarmd`,
    );
  }
  const body = content.subarray(found[0].length);
  if (crc32(body).toString(16).padStart(8, "0") !== found[2]) return undefined;
  return Task.decode(body);
}
