import { type ChildProcess, spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { exec, mustExec, until } from "../../cluster/index.ts";
import type { BenchLayer } from "./content.ts";

/** Debian's registry on a free port of loopback. */
export async function startRegistry(
  folder: string,
): Promise<{ readonly address: string; readonly process: ChildProcess }> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, "127.0.0.1", resolve));
  const address = `127.0.0.1:${(probe.address() as AddressInfo).port}`;
  await new Promise((resolve) => probe.close(resolve));
  const config = join(folder, "registry.yml");
  const storage = { filesystem: { rootdirectory: join(folder, "registry") } };
  writeFileSync(config, JSON.stringify({ version: 0.1, log: { level: "error" }, storage, http: { addr: address } }));
  const child = spawn("docker-registry", ["serve", config], { stdio: "ignore" });
  await until("the registry answers", async () => (await exec(["curl", "-sf", `http://${address}/v2/`])).code === 0);
  return { address, process: child };
}

/** Copies the image of a layout to the registry, as TAG:1. */
export async function push(address: string, layout: string, tag: string, layers: readonly BenchLayer[]): Promise<void> {
  const to = `docker://${address}/${tag}:1`;
  const copy = ["skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", `oci:${layout}:${tag}`, to];
  await mustExec(copy, { timeoutMs: 60_000 * layers.length });
}
