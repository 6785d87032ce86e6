import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { Task } from "@starling/api";
import { type Logger, SwarmError } from "@starling/base";

const formatVersion = 1;
const header = /^starling-task (\d+) ([0-9a-f]{8})\n/;

/**
 * The node's assigned tasks with their last status, one file each: `<directory>/<task id>`, a line
 * `starling-task <version> <crc32>` and the Task message. A file is replaced by rename, so it is whole whenever swarmd
 * ends. It is not synced: after a power cut no process of it lives, and a damaged file is dropped.
 */
export class TaskDb {
  readonly #directory: string;
  readonly #log: Logger;
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
    const tasks: Task[] = [];
    for (const name of await readdir(this.#directory)) {
      const path = join(this.#directory, name);
      const task = name.startsWith(".") ? undefined : decode(path, await readFile(path));
      if (task !== undefined) tasks.push(task);
      else {
        if (!name.startsWith(".")) this.#log.warn("damaged task file dropped", { path });
        await rm(path, { force: true });
      }
    }
    return tasks;
  }

  /** Keeps `task`; of several puts of one task that come quickly only the last is written. */
  put(task: Task): void {
    this.#enqueue(task.id, task);
  }

  delete(taskId: string): void {
    this.#enqueue(taskId, undefined);
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
    const path = join(this.#directory, taskId);
    if (task === undefined) {
      await rm(path, { force: true });
      return;
    }
    const temporary = join(this.#directory, `.${taskId}`);
    await writeFile(temporary, encode(task), { mode: 0o600 });
    await rename(temporary, path);
  }
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
