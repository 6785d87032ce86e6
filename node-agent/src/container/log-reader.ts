import { watch } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { LogStream, type LogSubscriptionOptions } from "@starling/api";
import type { Clock } from "@starling/base";
import type { LogChunk } from "../exec/controller.ts";

/** Longer than any line: 16 KiB of output, each byte at most 6 characters, and the frame. */
const readBytes = 256 << 10;
/** How often the file is looked at when no change is told. */
const lookEveryMs = 1_000;
const rotatedMax = 1_000;

/**
 * Reads what the shim writes: json-file lines of `path`, and of `path.1` … where it was rotated. Gives what is there,
 * then, with `follow`, what comes, until `ended()` says that nothing more will, or the signal.
 * `tail` as in Swarm's API: 0 all, -1 - n the last n lines, n > 0 all but the first n.
 */
export async function* readLog(
  path: string,
  options: LogSubscriptionOptions,
  context: { readonly clock: Clock; readonly signal: AbortSignal; readonly ended: () => boolean },
): AsyncGenerator<LogChunk> {
  const wanted = acceptOf(options);
  const lines = new Lines(path);
  try {
    yield* options.tail < 0 ? lastOf(lines, wanted, -1 - options.tail) : allBut(lines, wanted, options.tail);
    if (!options.follow) return;
    while (!context.signal.aborted) {
      // Asked before reading: what was written before the end is read after it.
      const ended = context.ended();
      for await (const chunk of lines.read()) if (wanted(chunk)) yield chunk;
      if (ended) return;
      await changeOf(path, context);
    }
  } finally {
    await lines.close();
  }
}

async function* allBut(lines: Lines, wanted: (chunk: LogChunk) => boolean, count: number): AsyncGenerator<LogChunk> {
  let skipped = 0;
  for await (const chunk of lines.read()) if (wanted(chunk) && ++skipped > count) yield chunk;
}

async function* lastOf(lines: Lines, wanted: (chunk: LogChunk) => boolean, count: number): AsyncGenerator<LogChunk> {
  let kept: LogChunk[] = [];
  for await (const chunk of lines.read()) {
    if (!wanted(chunk)) continue;
    kept.push(chunk);
    if (kept.length > 2 * count + 1024) kept = kept.slice(-count);
  }
  if (count > 0) yield* kept.slice(-count);
}

function acceptOf({ since, streams }: LogSubscriptionOptions): (chunk: LogChunk) => boolean {
  const sinceNs = since === undefined ? 0n : BigInt(since.seconds) * 1_000_000_000n + BigInt(since.nanos);
  const named = streams.map((stream) => (stream === LogStream.LOG_STREAM_STDERR ? "stderr" : "stdout"));
  return (chunk) => chunk.timestampNs >= sinceNs && (named.length === 0 || named.includes(chunk.stream));
}

/** Resolves at a change of the file, after a second at the latest, or at the signal. */
async function changeOf(
  path: string,
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<void> {
  await new Promise<void>((resolve) => {
    const done = () => {
      timer.cancel();
      watcher?.close();
      signal.removeEventListener("abort", done);
      resolve();
    };
    let watcher: ReturnType<typeof watch> | undefined;
    const timer = clock.setTimer(lookEveryMs, done);
    signal.addEventListener("abort", done, { once: true });
    try {
      watcher = watch(path, done);
      watcher.on("error", done);
    } catch {
      // Not there yet: looked at again after the pause.
    }
  });
}

/** The lines of a log and its rotated files, oldest first; goes on where it stopped, across rotations. */
class Lines {
  readonly #path: string;
  #file: FileHandle | undefined;
  #position = 0;
  #inode = 0n;

  constructor(path: string) {
    this.#path = path;
  }

  async close(): Promise<void> {
    await this.#file?.close();
    this.#file = undefined;
  }

  async *read(): AsyncGenerator<LogChunk> {
    if (this.#file === undefined && !(await this.#openOldest())) return;
    for (;;) {
      yield* this.#readFile();
      if (!(await this.#openNext())) return;
    }
  }

  async *#readFile(): AsyncGenerator<LogChunk> {
    const buffer = Buffer.alloc(readBytes);
    for (;;) {
      const { bytesRead } = await this.#file!.read(buffer, 0, readBytes, this.#position);
      const end = buffer.subarray(0, bytesRead).lastIndexOf(10) + 1;
      // The last line may be under way: read again with its end.
      if (end === 0 && bytesRead < readBytes) return;
      this.#position += end === 0 ? bytesRead : end;
      for (const line of buffer.toString("utf8", 0, end).split("\n")) {
        const chunk = parseLine(line);
        if (chunk !== undefined) yield chunk;
      }
    }
  }

  async #openOldest(): Promise<boolean> {
    let oldest = 0;
    while (oldest < rotatedMax && (await exists(`${this.#path}.${oldest + 1}`))) oldest++;
    return this.#open(oldest === 0 ? this.#path : `${this.#path}.${oldest}`);
  }

  /** The file after the present one; false when the present one is still being written. */
  async #openNext(): Promise<boolean> {
    for (let number = 0; number <= rotatedMax; number++) {
      const path = number === 0 ? this.#path : `${this.#path}.${number}`;
      const inode = await inodeOf(path);
      if (inode === undefined) break;
      if (inode !== this.#inode) continue;
      if (number === 0) return false;
      return this.#open(number === 1 ? this.#path : `${this.#path}.${number - 1}`);
    }
    // Rotated away altogether: begin with the oldest that is left.
    return this.#openOldest();
  }

  async #open(path: string): Promise<boolean> {
    const inode = await inodeOf(path);
    if (inode === undefined || inode === this.#inode) return false;
    const file = await open(path, "r").catch(() => undefined);
    if (file === undefined) return false;
    await this.#file?.close();
    this.#file = file;
    this.#inode = (await file.stat({ bigint: true })).ino;
    this.#position = 0;
    return true;
  }
}

async function inodeOf(path: string): Promise<bigint | undefined> {
  const file = await open(path, "r").catch(() => undefined);
  if (file === undefined) return undefined;
  const { ino } = await file.stat({ bigint: true });
  await file.close();
  return ino;
}

async function exists(path: string): Promise<boolean> {
  return (await inodeOf(path)) !== undefined;
}

/** One json-file line; undefined for what is none (a line that a full disk cut). */
export function parseLine(line: string): LogChunk | undefined {
  let value: { log?: unknown; stream?: unknown; time?: unknown };
  try {
    value = JSON.parse(line) as typeof value;
  } catch {
    return undefined;
  }
  const { log, stream, time } = value;
  if (typeof log !== "string" || typeof time !== "string" || (stream !== "stdout" && stream !== "stderr")) {
    return undefined;
  }
  const match = /^(.*?)(?:\.(\d{1,9}))?Z$/.exec(time);
  const seconds = Date.parse(`${match?.[1]}Z`);
  if (Number.isNaN(seconds)) return undefined;
  const timestampNs = BigInt(seconds) * 1_000_000n + BigInt((match?.[2] ?? "0").padEnd(9, "0"));
  return { stream, timestampNs, data: Buffer.from(log, "utf8") };
}
