import { expect, it } from "vitest";
import { DeadBuffers, deadBuffers } from "./dead-buffers.ts";

function recorded() {
  const done: string[] = [];
  return { done, buffers: new DeadBuffers({ collect: () => done.push("collect"), trim: () => done.push("trim") }) };
}

it("has what passed collected each 8 MiB", async () => {
  const { done, buffers } = recorded();
  await buffers.during(async () => {
    for (let count = 0; count < 255; count++) buffers.passed(64 << 10);
    expect(done).toEqual(["collect"]);
    buffers.passed(64 << 10);
    expect(done).toEqual(["collect", "collect"]);
  });
});

it("gives back what is left once no stream is open, unless that is little", async () => {
  const { done, buffers } = recorded();
  const other = Promise.withResolvers<void>();
  const running = buffers.during(() => other.promise);
  await expect(
    buffers.during(async () => {
      buffers.passed(2 << 20);
      throw new Error("broken off");
    }),
  ).rejects.toThrow("broken off");
  expect(done).toEqual([]);
  other.resolve();
  await running;
  expect(done).toEqual(["collect", "collect", "trim"]);
  await buffers.during(async () => buffers.passed(1000));
  expect(done).toHaveLength(3);
});

it("frees buffers of this process, which runs without --expose-gc", async () => {
  expect(globalThis.gc).toBeUndefined();
  const before = process.memoryUsage().arrayBuffers;
  await deadBuffers.during(async () => {
    for (let count = 0; count < 256; count++) Buffer.alloc(64 << 10);
    deadBuffers.passed(16 << 20);
  });
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(4 << 20);
});
