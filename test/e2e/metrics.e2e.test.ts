import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { repositoryRoot, until } from "../cluster/index.ts";
import { Stage } from "./stage.ts";

interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [time: number, value: string];
}

/** Debian's Prometheus, with the configuration that deploy/prometheus has for users, beside a swarm of five. */
describe("metrics", () => {
  let stage: Stage;

  beforeAll(async () => {
    stage = await Stage.open("metrics", ["m1", "m2", "m3", "w1", "w2"]);
    await stage.create("web", ["--replicas", "4"], stage.image("web1"));
    await stage.create("idle", ["--replicas", "2", "--constraint", "node.labels.none==1"], stage.image("web1"));
    await stage.running("web", 4);

    const reg = stage.host("reg");
    const folder = join(reg.stateFolder, "prometheus");
    mkdirSync(folder, { recursive: true });
    const shipped = join(repositoryRoot, "deploy/prometheus");
    await reg.mustExec(["cp", "-r", `${shipped}/.`, folder]);
    await reg.mustExec(["sed", "-i", "s/: 5s/: 1s/", join(folder, "prometheus.yml")]);
    const targets = stage.swarm.members().map((host) => `${host.address}:9090`);
    writeFileSync(join(folder, "nodes.json"), JSON.stringify([{ targets }]));
    await reg.daemon("prometheus", [
      "prometheus",
      `--config.file=${folder}/prometheus.yml`,
      `--storage.tsdb.path=${folder}/data`,
      "--web.listen-address=127.0.0.1:9091",
      "--log.level=warn",
    ]);
  });
  afterAll(() => stage?.close());
  beforeEach(() => stage.showLogsOnFailure());

  async function query(expression: string): Promise<readonly Sample[]> {
    const url = `http://127.0.0.1:9091/api/v1/query?query=${encodeURIComponent(expression)}`;
    const { stdout } = await stage.host("reg").exec(["curl", "-sf", url]);
    return (JSON.parse(stdout) as { data: { result: Sample[] } }).data.result;
  }

  /** Resolves when each answer to a query has the value, and there are `count`. */
  async function shows(expression: string, value: number, count: number): Promise<readonly Sample[]> {
    let last: readonly Sample[] = [];
    await until(
      `${expression} is ${value}, ${count} times`,
      async () => {
        last = await query(expression);
        return last.length === count && last.every((sample) => Number(sample.value[1]) === value);
      },
      { timeoutMs: 30_000, periodMs: 200 },
    ).catch((error: Error) => {
      throw new Error(`${error.message}: ${JSON.stringify(last)}`);
    });
    return last;
  }

  it("all five hosts are up", async () => {
    await shows('up{job="starling"}', 1, 5);
  });

  it("managers tell what the cluster holds, by SwarmKit's names", async () => {
    await shows("swarm_manager_services_total", 2, 3);
    await shows('swarm_manager_nodes{state="ready"}', 5, 3);
    await shows("sum(swarm_manager_leader)", 1, 1);
    await shows('swarm_manager_tasks_total{state="running"}', 4, 3);
    for (const name of ["networks", "secrets", "configs"]) await shows(`count(swarm_manager_${name}_total)`, 3, 1);
  });

  it("and every other name of SwarmKit's is there", async () => {
    const ofRpcs = ["started", "handled", "msg_sent", "msg_received"].flatMap((what) =>
      ["server", "client"].map((side) => `grpc_${side}_${what}_total`),
    );
    const latencies = ["batch", "lookup", "read_tx", "write_tx"].map((what) => `swarm_store_${what}_latency_seconds`);
    const names = [
      ...["swarm_node_info", "swarm_node_manager", "swarm_dispatcher_scheduling_delay_seconds_count"],
      ...[...latencies, "swarm_store_memory_store_lock_duration_seconds"].map((name) => `${name}_count`),
      ...["swarm_raft_snapshot_latency_seconds_count", "swarm_raft_transaction_latency_seconds_count"],
      ...ofRpcs,
    ];
    await shows(names.map((name) => `(count(${name}) > bool 0)`).join(" * "), 1, 1);
  });

  it("desired and running replicas of each service", async () => {
    await shows('starling_service_replicas_desired{service_name="web"}', 4, 3);
    await shows('starling_service_replicas_running{service_name="web"}', 4, 3);
    await shows('starling_service_replicas_desired{service_name="idle"}', 2, 3);
    await shows('starling_service_replicas_running{service_name="idle"}', 0, 3);
  });

  it("raft: one leader, one term, an index that grows", async () => {
    await shows("sum(swarm_raft_is_leader)", 1, 1);
    await shows("max(swarm_raft_term) - min(swarm_raft_term > 0)", 0, 1);
    await shows("count(swarm_raft_transaction_latency_seconds_count > 0) > bool 0", 1, 1);
    const [before] = await query("max(swarm_raft_applied_index)");
    await stage.ctl(["config", "create", "one", "-"], { input: "1" });
    await until(
      "the applied index grows",
      async () => {
        const [now] = await query("min(swarm_raft_applied_index > 0)");
        return Number(now?.value[1]) > Number(before?.value[1]);
      },
      { periodMs: 200 },
    );
  });

  it("containers of each node", async () => {
    await shows("count(starling_node_containers)", 5, 1);
    await shows("sum(starling_node_containers)", 4, 1);
  });

  it("every name has a help text and a type", async () => {
    const text = await stage.host("m1").mustExec(["curl", "-sf", "http://m1:9090/metrics"]);
    const names = new Set(text.match(/^(?:swarm|starling)_\w+/gm));
    const documented = (name: string) => {
      const base = name.replace(/_(bucket|sum|count)$/, "");
      return text.includes(`# HELP ${name} `) || text.includes(`# HELP ${base} `);
    };
    expect([...names].filter((name) => !documented(name))).toEqual([]);
    const check = "curl -sf http://10.99.0.11:9090/metrics | promtool check metrics";
    const { stderr } = await stage.host("reg").exec(check);
    // SwarmKit's names are as they are.
    const complaints = stderr
      .split("\n")
      .filter((line) => line !== "" && !/^swarm_manager_\w+_total non-counter/.test(line));
    expect(complaints).toEqual([]);
  });

  it("a host that is cut off is down, and the alert of the shipped rules is pending", async () => {
    await stage.host("w2").kill();
    await shows('up{job="starling"} == 0', 0, 1);
    await shows('ALERTS{alertname="NodeNotScraped"}', 1, 1);
  });
});
