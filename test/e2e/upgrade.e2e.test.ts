import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { repositoryRoot, until } from "../cluster/index.ts";
import { Stage } from "./stage.ts";

/** deploy/install.sh, run again and again over containers: every file that they were started with is replaced, then gone. */
describe("swarmd is upgraded under running containers", () => {
  let stage: Stage;
  const folder = mkdtempSync(join(tmpdir(), "starling-upgrade-"));
  const prefix = join(folder, "usr");
  const installed = join(prefix, "lib/starling");

  /** Where there is no systemd to be told: nothing of this machine is touched but the prefix. */
  function install(version: string): void {
    writeFileSync(join(folder, "dist/VERSION-OF-TEST"), version);
    const script = `mount -t tmpfs none /run && exec "${folder}/deploy/install.sh" --prefix "${prefix}" --no-start`;
    execFileSync("unshare", ["--mount", "sh", "-c", script], { stdio: "pipe" });
    expect(readFileSync(join(installed, "VERSION-OF-TEST"), "utf8")).toBe(version);
  }

  beforeAll(async () => {
    cpSync(join(repositoryRoot, "deploy"), join(folder, "deploy"), { recursive: true });
    mkdirSync(prefix);
    execFileSync(process.execPath, ["deploy/build.ts", join(folder, "dist")], { cwd: repositoryRoot, stdio: "pipe" });
    install("first");
    stage = await Stage.open("upgrade", ["m1"], { distribution: installed });
    const count = "i=0; trap 'echo ended; exit 0' TERM; while :; do i=$((i+1)); echo $i > /out/count; sleep 0.05; done";
    const mount = ["--mount", "type=bind,source=/var/lib/swarmd/,target=/out", "--stop-grace-period", "20s"];
    await stage.create("counter", mount, stage.image("tools"), "sh", "-c", count);
    await stage.running("counter", 1);
  });
  afterAll(async () => {
    await stage?.close();
    rmSync(folder, { recursive: true });
  });
  beforeEach(() => stage.showLogsOnFailure());

  const counted = () => Number(readFileSync(join(stage.host("m1").stateFolder, "count"), "utf8"));
  async function oneTask() {
    const [task] = await stage.running("counter", 1);
    return { id: task!.id, pid: await stage.pidOf(task!.id) };
  }

  it("they go on, whatever becomes of the files, and the new one takes them over", async () => {
    const before = await oneTask();
    // The second takes the first's place, the third removes it.
    install("second");
    install("third");
    const host = stage.host("m1");
    await stage.swarm.endNode(host, "TERM");
    const reached = counted();
    await until("it counts without swarmd", () => counted() > reached + 3);
    await stage.swarm.startNode(host);
    await stage.swarm.ready([host]);
    expect(await oneTask()).toEqual(before);
    // Its shim is what it was, a file that has no name any more.
    const links = await host.mustExec(`stat -Lc %h /proc/$(ps -o ppid= -p ${before.pid} | tr -d ' ')/exe`);
    expect(links).toBe("0\n");
  });

  it("they are run in, stopped and replaced by it as ever", async () => {
    const before = await oneTask();
    expect(await stage.ctl(["service", "exec", "counter", "sh", "-c", "echo $(id -u) in $PPID"])).toBe("0 in 0\n");
    await stage.ctl(["service", "update", "--force", "counter"]);
    expect((await oneTask()).id).not.toBe(before.id);
    const old = await stage.task(
      "counter",
      "was stopped",
      (row) => row.id === before.id && row.currentState === "SHUTDOWN",
    );
    expect(old.exitCode).toBe(0);
    expect(await stage.ctl(["service", "logs", "--raw", before.id])).toBe("ended\n");
  });
});
