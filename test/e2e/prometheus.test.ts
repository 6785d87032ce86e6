import { cpSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { repositoryRoot, Swarm, TestCluster, until } from "../cluster/index.ts";

interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [time: number, value: string];
}

it("Debian's Prometheus, configured as deploy/prometheus says, finds all five nodes up and their figures there", async () => {
  const hosts = ["reg", "m1", "m2", "m3", "w1", "w2"];
  await using cluster = await TestCluster.create({ name: `prometheus-${process.pid}`, hosts });
  await new Swarm(cluster).start();
  const observer = cluster.host("reg");
  cpSync(join(repositoryRoot, "deploy/prometheus"), join(observer.stateFolder, "prometheus"), { recursive: true });
  await observer.daemon("prometheus", [
    "prometheus",
    "--config.file=/var/lib/swarmd/prometheus/prometheus.yml",
    "--storage.tsdb.path=/var/lib/swarmd/prometheus/data",
    "--web.listen-address=127.0.0.1:9999",
  ]);
  const query = async (expression: string): Promise<readonly Sample[]> => {
    const url = `http://127.0.0.1:9999/api/v1/query?query=${encodeURIComponent(expression)}`;
    return JSON.parse(await observer.mustExec(["curl", "-sf", url])).data.result;
  };

  const up = await until("all five are scraped", async () => {
    const samples = await query("up == 1");
    return samples.length === 5 && samples;
  });
  expect(up.map((sample) => sample.metric["instance"]).sort()).toEqual(
    ["10.99.0.11", "10.99.0.12", "10.99.0.13", "10.99.0.21", "10.99.0.22"].map((address) => `${address}:9090`),
  );
  const ready = await until("a leader tells of five ready nodes", async () => {
    const [sample] = await query('max(swarm_manager_nodes{state="ready"})');
    return sample?.value[1] === "5" && sample;
  });
  expect(ready.value[1]).toBe("5");
});
