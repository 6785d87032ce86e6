import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { dockerArchive } from "../test-archives.ts";
import { ImageStore } from "./image-store.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "starling-load-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Loads in a process of its own, killed so many milliseconds after it began (-1: not); whether it was. */
async function loadKilledAfter(store: string, archive: string, delayMs: number): Promise<boolean> {
  const fixture = join(import.meta.dirname, "load.fixture.ts");
  const child = spawn(process.execPath, [fixture, store, archive], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise<string | null>((resolve) => child.once("close", (_code, signal) => resolve(signal)));
  await new Promise((resolve) => child.stdout.once("data", resolve));
  if (delayMs >= 0) setTimeout(() => child.kill("SIGKILL"), delayMs);
  return (await ended) === "SIGKILL";
}

it("an archive whose loading is killed at any moment leaves nothing half-done that is used", async () => {
  const content = randomBytes(6 << 20);
  const archive = join(folder, "app.tar");
  writeFileSync(archive, dockerArchive({ upper: { big: content } }));
  const path = join(folder, "store");
  const check = async (): Promise<number> => {
    const store = new ImageStore(path);
    await store.open();
    expect(readdirSync(store.tmp)).toEqual([]);
    const digests = await store.list();
    for (const digest of digests) {
      const { layers } = (await store.image(digest))!;
      expect(readFileSync(join(layers[0]!, "big")).equals(content)).toBe(true);
      expect(existsSync(join(layers[1]!, "etc/name"))).toBe(true);
    }
    for (const { digest } of await store.references()) expect(digests).toContain(digest);
    return digests.length;
  };
  // What is checked does not depend on how far it came.
  for (let delayMs = 0; delayMs < 240; delayMs += 40) {
    if (!(await loadKilledAfter(path, archive, delayMs))) break;
    await check();
  }
  await loadKilledAfter(path, archive, -1);
  expect(await check()).toBe(1);
});
