import { parseUnlockKey, UnlockResponse } from "@starling/api";
import { SwarmError } from "@starling/base";
import { afterEach, beforeEach, expect, it } from "vitest";
import { TestCluster } from "./test-cluster.ts";

const given: Uint8Array[] = [];
let cluster: TestCluster;
beforeEach(async () => {
  given.length = 0;
  cluster = await TestCluster.start({
    async unlock({ unlockKey }) {
      given.push(unlockKey);
      if (given.length === 1) throw new SwarmError("InvalidArgument", "invalid unlock key");
      return UnlockResponse.create();
    },
  });
});
afterEach(() => cluster.stop());

it("shows the unlock key when autolock is switched on, and when it is rotated, and its text alone with -q", async () => {
  expect((await cluster.run("cluster", "unlock-key")).out).toContain("autolock is off");
  const on = await cluster.run("cluster", "update", "--autolock=true");
  const quiet = await cluster.run("cluster", "unlock-key", "-q");
  expect(quiet.out).toMatch(/^SWMKEY-1-.{43}\n$/);
  expect(on.out).toContain(quiet.out.trim());
  const rotated = await cluster.run("cluster", "unlock-key", "--rotate", "--quiet");
  expect(rotated.out).toMatch(/^SWMKEY-1-.{43}\n$/);
  expect(rotated.out).not.toBe(quiet.out);
  expect((await cluster.run("cluster", "update", "--autolock=false")).out).toBe("default\n");
  expect((await cluster.run("cluster", "unlock-key", "-q")).out).toBe("");
});

it("rotates no key that is not there", async () => {
  for (const words of [
    ["unlock-key", "--rotate"],
    ["update", "--rotate-unlock-key"],
  ]) {
    const refused = await cluster.run("cluster", ...words);
    expect(refused).toMatchObject({
      code: 1,
      err: expect.stringMatching(/^Error: there is no unlock key to rotate.*\n$/),
    });
  }
});

it("unlocks with the key from standard input", async () => {
  const text = `SWMKEY-1-${"A".repeat(43)}`;
  expect(await cluster.runWith({ input: text }, "unlock")).toEqual({
    code: 1,
    out: "",
    err: "Error: invalid unlock key\n",
  });
  expect(await cluster.runWith({ input: text }, "unlock")).toEqual({ code: 0, out: "", err: "" });
  expect(given.at(-1)).toEqual(parseUnlockKey(text));
  const malformed = await cluster.runWith({ input: "SWMKEY-1-short" }, "--socket", cluster.socket, "unlock");
  expect(malformed).toMatchObject({
    code: 1,
    err: expect.stringMatching(/^Error: invalid unlock key: expected SWMKEY-1-/),
  });
  expect(given).toHaveLength(2);
});
