import { appendFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LogStream, LogSubscriptionOptions } from "@starling/api";
import { systemClock } from "@starling/base";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parseLine, readLog } from "./log-reader.ts";

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "starling-log-"));
  path = join(folder, "log.json");
});
afterEach(() => rmSync(folder, { recursive: true }));

const line = (text: string, second = 0, stream = "stdout") =>
  `${JSON.stringify({ log: `${text}\n`, stream, time: `2026-01-01T00:00:0${second}.000000001Z` })}\n`;

async function read(options: Partial<LogSubscriptionOptions> = {}): Promise<string> {
  const context = { clock: systemClock, signal: new AbortController().signal, ended: () => true };
  let text = "";
  for await (const { data } of readLog(path, LogSubscriptionOptions.create(options), context)) text += data;
  return text.replaceAll("\n", " ").trim();
}

describe("readLog", () => {
  it("reads rotated files first", async () => {
    writeFileSync(`${path}.2`, line("a"));
    writeFileSync(`${path}.1`, line("b"));
    writeFileSync(path, line("c"));
    expect(await read()).toBe("a b c");
  });

  it("counts as Swarm does: last lines below zero, skipped lines above", async () => {
    writeFileSync(path, ["a", "b", "c", "d"].map((text) => line(text)).join(""));
    expect(await read({ tail: -3 })).toBe("c d");
    expect(await read({ tail: -1 })).toBe("");
    expect(await read({ tail: 3 })).toBe("d");
  });

  it("picks by stream and time", async () => {
    writeFileSync(path, line("a") + line("b", 1, "stderr") + line("c", 2));
    expect(await read({ streams: [LogStream.LOG_STREAM_STDERR] })).toBe("b");
    expect(await read({ since: { seconds: Date.UTC(2026, 0, 1) / 1000 + 1, nanos: 0 } })).toBe("b c");
  });

  it("passes over what is no line, and leaves a line that is still being written", async () => {
    writeFileSync(path, `${line("a")}{"log":"cut\n${line("b")}${line("c").slice(0, 20)}`);
    expect(await read()).toBe("a b");
  });

  it("follows across a rotation until the end", async () => {
    writeFileSync(path, line("a"));
    let ended = false;
    const context = { clock: systemClock, signal: new AbortController().signal, ended: () => ended };
    const chunks = readLog(path, LogSubscriptionOptions.create({ follow: true }), context);
    const next = async () => String((await chunks.next()).value?.data);
    expect(await next()).toBe("a\n");
    appendFileSync(path, line("b"));
    expect(await next()).toBe("b\n");
    appendFileSync(path, line("c"));
    renameSync(path, `${path}.1`);
    writeFileSync(path, line("d"));
    expect(await next()).toBe("c\n");
    expect(await next()).toBe("d\n");
    ended = true;
    appendFileSync(path, line("e"));
    expect(await next()).toBe("e\n");
    expect((await chunks.next()).done).toBe(true);
  });
});

it("keeps nanoseconds", () => {
  expect(parseLine(line("x").trim())?.timestampNs).toBe(BigInt(Date.UTC(2026, 0, 1)) * 1_000_000n + 1n);
});
