import { seededRandom } from "@starling/base";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { NetworkOracle } from "./network-oracle.ts";
import { Stage } from "./stage.ts";

/** `MOVES=1000 vitest run --project hosts test/e2e/converges` for the full size. */
const moves = Number(process.env["MOVES"] ?? 5);
const seed = Number(process.env["SEED"] ?? 1);

/** Forwarding, neighbours, balancers and names follow the tasks, whatever happens to swarmd meanwhile. */
describe(`networks after ${moves} moves of tasks`, () => {
  const random = seededRandom(seed);
  const below = (count: number) => Math.floor(random() * count);
  let stage: Stage;
  let oracle: NetworkOracle;

  beforeAll(async () => {
    console.log(`seed ${seed}; again: SEED=${seed} MOVES=${moves} vitest run --project hosts test/e2e/converges`);
    stage = await Stage.open("converges", ["m1", "w1", "w2"]);
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
  afterAll(() => stage?.close());
  beforeEach(() => stage.showLogsOnFailure());

  const service = () => ["a", "b", "c"][below(3)]!;
  const move: readonly (() => Promise<unknown>)[] = [
    () => stage.ctl(["service", "scale", "--detach", `${service()}=${1 + below(4)}`]),
    () => stage.ctl(["service", "update", "--detach", "--force", service()]),
    async () => {
      const host = stage.host(["w1", "w2"][below(2)]!);
      await stage.swarm.endNode(host);
      await stage.ctl(["service", "scale", "--detach", `${service()}=${1 + below(4)}`]);
      await stage.swarm.startNode(host);
      await stage.swarm.ready([host]);
    },
    async () => {
      const node = ["w1", "w2"][below(2)]!;
      await stage.ctl(["node", "drain", node]);
      await stage.ctl(["node", "activate", node]);
    },
  ];

  it("are as the store says, on every host", { timeout: 120_000 + moves * 20_000 }, async () => {
    const times: number[] = [];
    for (let done = 0; done < moves; done++) {
      await move[below(move.length)]!();
      times.push(await oracle.agrees());
    }
    const [median, most] = [0.5, 1].map((part) =>
      Math.round(times.toSorted((a, b) => a - b)[Math.ceil(moves * part) - 1]!),
    );
    const late = times.filter((ms) => ms > 2_000).length;
    console.log(
      `${moves} moves: all hosts' tables equal the tasks ${median} ms (median) and ${most} ms (at most) after the last of them changed, ${late} times over 2,000 ms`,
    );
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
