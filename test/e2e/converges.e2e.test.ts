import { seededRandom } from "@starling/base";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Programs } from "../cluster/index.ts";
import { removeSlot } from "./connect-time-oracle.ts";
import { buildDistribution, removeDistribution } from "./distribution.ts";
import { NetworkOracle } from "./network-oracle.ts";
import { Stage } from "./stage.ts";

/**
 * `MOVES=1000 vitest run --project hosts test/e2e/converges` for the full size: then the programs are those that users install, which
 * start faster, and no move may be late: for a quiet machine alone.
 */
const isMeasured = process.env["MOVES"] !== undefined;
const moves = Number(process.env["MOVES"] ?? 5);
const lateMs = 2_000;
const seed = Number(process.env["SEED"] ?? 1);

/** Forwarding, neighbours, balancers and names follow the tasks, whatever happens to swarmd meanwhile. */
describe(`networks after ${moves} moves of tasks`, () => {
  const random = seededRandom(seed);
  const below = (count: number) => Math.floor(random() * count);
  let stage: Stage;
  let oracle: NetworkOracle;
  let programs: Programs = "sources";

  beforeAll(async () => {
    console.log(`seed ${seed}; again: SEED=${seed} MOVES=${moves} vitest run --project hosts test/e2e/converges`);
    if (isMeasured) programs = buildDistribution();
    stage = await Stage.open("converges", ["m1", "w1", "w2"], programs);
    oracle = new NetworkOracle(stage.swarm);
    for (const network of ["front", "back"]) await stage.ctl(["network", "create", network]);
    const quick = ["--stop-signal", "SIGKILL", "--update-monitor", "100ms"];
    const sleep = [stage.image("tools"), "sleep", "infinity"] as const;
    await stage.create("a", ["--network", "front", "-p", "8080:80", "--replicas", "2", ...quick], ...sleep);
    const sticky = ["--balance", "source", "-p", "8081:81"];
    await stage.create(
      "b",
      ["--network", "front", "--network", "back", "--replicas", "2", ...sticky, ...quick],
      ...sleep,
    );
    await stage.create("c", ["--network", "back", "--endpoint-mode", "dnsrr", "--replicas", "2", ...quick], ...sleep);
  });
  afterAll(async () => {
    await stage?.close();
    removeDistribution(programs);
  });
  beforeEach(() => stage.showLogsOnFailure());

  const service = () => ["a", "b", "c"][below(3)]!;
  const scale = () => stage.ctl(["service", "scale", "--detach", `${service()}=${1 + below(4)}`]);
  const move: readonly { readonly name: string; make(): Promise<unknown> }[] = [
    { name: "scale", make: scale },
    { name: "update", make: () => stage.ctl(["service", "update", "--detach", "--force", service()]) },
    {
      name: "kill of swarmd",
      async make() {
        const host = stage.host(["w1", "w2"][below(2)]!);
        await stage.swarm.endNode(host);
        await scale();
        await stage.swarm.startNode(host);
        await stage.swarm.ready([host]);
      },
    },
    {
      name: "drain",
      async make() {
        const node = ["w1", "w2"][below(2)]!;
        await stage.ctl(["node", "drain", node]);
        await stage.ctl(["node", "activate", node]);
      },
    },
  ];
  const seconds = (since: number) => Math.round((performance.now() - since) / 1_000);

  it("are as the store says, on every host", { timeout: 120_000 + moves * 20_000 }, async () => {
    const times: number[] = [];
    const late: string[] = [];
    const begin = performance.now();
    for (let done = 0; done < moves; done++) {
      const kind = below(move.length);
      await move[kind]!.make();
      const { ms, looks } = await oracle.agrees();
      times.push(ms);
      if (ms > lateMs) {
        late.push(`move ${done + 1} (${move[kind]!.name}): ${ms} ms`);
        console.log(`late: ${late.at(-1)}: ${looks.join(" | ")}`);
      }
      if ((done + 1) % 50 === 0) console.log(`${done + 1} moves after ${seconds(begin)} s, late: ${late.length}`);
    }
    const sorted = times.toSorted((a, b) => a - b);
    const [median, most] = [0.5, 1].map((part) => sorted[Math.ceil(moves * part) - 1]!);
    console.log(
      `${moves} moves in ${seconds(begin)} s: all hosts' tables equal the tasks ${median} ms (median) and ${most} ms (at most) after the last of them changed, ${late.length} times over ${lateMs} ms`,
    );
    if (isMeasured) expect(late).toEqual([]);
  });

  it("are mended when someone else broke them, at once on request, without a restart", async () => {
    const host = stage.host("w1");
    // Enough of each for every host, so that there is something of every kind to break.
    await stage.ctl(["service", "scale", "a=6", "b=6", "c=6"]);
    await oracle.agrees();
    const before = await stage.running(
      "a",
      (await stage.tasks("a")).filter((t) => t.desiredState === "RUNNING").length,
    );
    const { id: nodeId } = await stage.json<{ id: string }>(["node", "inspect", "w1"]);
    if (await removeSlot(host, nodeId)) {
      await host.mustExec("tc filter del dev $(ls /sys/class/net | grep -m1 ^sx-) ingress");
      await host.mustExec("tc filter del dev starling-mesh ingress");
      const faults = await oracle.faults();
      expect(faults).toContainEqual(expect.stringMatching(/^w1: eBPF: .* should lead to/));
      for (const of of ["", "mesh: "])
        expect(faults).toContainEqual(expect.stringMatching(`^w1: eBPF: ${of}\\d+ devices have programs, \\d+ should`));
    }
    const pid = await stage.pidOf(before.find(({ node }) => node === "w1")!.id);
    await host.mustExec(["nsenter", `--net=/proc/${pid}/ns/net`, "nft", "delete", "table", "ip", "starling"]);
    await host.mustExec([
      "bash",
      "-c",
      "for d in $(ls /sys/class/net | grep ^sx-); do ip neigh flush dev $d nud permanent; bridge fdb del $(bridge fdb show dev $d | awk '/dst/{print $1; exit}') dev $d self || true; done; ip route flush proto 83",
    ]);
    const { code, stdout, stderr } = await stage.swarm.ctl(["network", "audit", "--format", "json"]);
    const rows = JSON.parse(stdout) as { node: string; result: string; subject: string }[];
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/differences|findings/) });
    expect(rows.filter(({ node }) => node !== "w1").every(({ result }) => result === "ok")).toBe(true);
    expect(new Set(rows.filter(({ node }) => node === "w1").map(({ subject }) => subject))).toEqual(
      new Set(["route", "rules", "neighbour", "forwarding"]),
    );
    await stage.ctl(["network", "audit", "--repair"]);
    expect(await oracle.faults()).toEqual([]);
    expect(await stage.ctl(["network", "audit"])).not.toMatch(/found|mended/);
    expect(
      (await stage.tasks("a"))
        .filter((t) => t.desiredState === "RUNNING")
        .map(({ id }) => id)
        .sort(),
    ).toEqual(before.map(({ id }) => id).sort());
  });
});
