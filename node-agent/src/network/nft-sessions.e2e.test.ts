import { closeNftSession, runSteps } from "@starling/native/net";
import { afterAll, beforeAll, expect, it } from "vitest";
import { TestHosts } from "./test-hosts.ts";

let hosts: TestHosts;
beforeAll(() => {
  hosts = new TestHosts(1);
}, 30_000);
afterAll(() => hosts?.destroy());

const sessions = Array.from({ length: 20 }, (_, i) => `session ${i}`);
afterAll(() => sessions.forEach(closeNftSession));

it("a session keeps nothing of the tables that are there, half a MiB each, and goes on to work", async () => {
  const run = async (session: string, script: string) =>
    (await runSteps(hosts.path("h1"), [{ type: "nft", script, session }]))[0];
  const before = process.memoryUsage().rss;
  for (const [i, session] of sessions.entries())
    expect(await run(session, `add table inet t${i}\nadd chain inet t${i} first`)).toMatchObject({
      ok: true,
      error: "",
    });
  expect((process.memoryUsage().rss - before) / 2 ** 20).toBeLessThan(40);
  for (const [i, session] of sessions.entries())
    expect(await run(session, `add chain inet t${i} second`)).toEqual({ ok: true, output: "", error: "" });
  expect(hosts.run("h1", "nft list chains").match(/chain second/g)).toHaveLength(sessions.length);
});
