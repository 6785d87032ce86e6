import { join } from "node:path";
import { expect, it } from "vitest";
import { exec } from "../test/cluster/index.ts";

const script = join(import.meta.dirname, "check-host.sh");

it("finds nothing required missing on a host that can run the tests, one line per item", async () => {
  const { code, stdout } = await exec(["sh", script]);
  const lines = stdout.trim().split("\n");
  expect(lines.filter((line) => !/^(ok {8}\S|degraded {2}.+ {2}— \S)/.test(line))).toEqual([]);
  expect(lines.length).toBeGreaterThan(30);
  expect(code).toBe(0);
});

it("names what is missing, the remedy, and fails: no right to make devices, no nft", async () => {
  const { code, stdout } = await exec(["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", "sh", script]);
  expect(stdout).toMatch(/^missing {3}network device vxlan {2}— modprobe vxlan$/m);
  expect(code).toBe(1);
  const nobody = await exec(["setpriv", "--reuid=65534", "--clear-groups", "sh", script]);
  expect(nobody).toMatchObject({ code: 1, stdout: expect.stringMatching(/^missing {3}root {2}— run as root.*\n$/) });
});
