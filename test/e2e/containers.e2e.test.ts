import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { until } from "../cluster/index.ts";
import { Stage } from "./stage.ts";

/** Containers as a user of services meets them, on one host that is manager and worker at once. */
describe("a service's container", () => {
  let stage: Stage;

  beforeAll(async () => {
    stage = await Stage.open("containers", ["m1"]);
  });
  afterAll(() => stage?.close());
  beforeEach(() => stage.showLogsOnFailure());

  const once = ["--restart-condition", "none"];

  /** Runs a script in a container of its own to its end and returns what it printed. */
  async function printed(name: string, flags: readonly string[], script: string): Promise<string> {
    await stage.create(name, [...once, ...flags], stage.image("tools"), "sh", "-c", script);
    const output = await stage.outputOf(name);
    await stage.ctl(["service", "rm", name]);
    return output;
  }

  it("is killed at its memory limit, and says so", async () => {
    // A shell variable that doubles: 2^26 bytes and more in one process.
    const grow = "x=0123456789abcdef; while true; do x=$x$x; done";
    await stage.create("hungry", [...once, "--limit-memory", "32m"], stage.image("tools"), "sh", "-c", grow);
    const task = await stage.task("hungry", "failed", (row) => row.currentState === "FAILED");
    expect(task.error).toBe("task: non-zero exit (137): out of memory: its memory limit was reached");
    await stage.ctl(["service", "rm", "hungry"]);
  });

  it("gets no more CPU than its limit", async () => {
    // User and system time of a busy loop after 2.5 s, in hundredths of a second.
    const spin = "while :; do :; done & sleep 2.5; awk '{ print $14 + $15 }' /proc/$!/stat; kill -9 $!";
    const ticks = Number(await printed("capped", ["--limit-cpu", "0.2"], spin));
    // 0.2 of 2.5 s are 50 ticks; a loop without a limit gets over 100 even beside other work.
    expect(ticks).toBeGreaterThan(5);
    expect(ticks).toBeLessThan(70);
  });

  it("can't have more processes than its limit", async () => {
    const fork = "exec 2>&1; for i in 1 2 3 4 5 6 7 8 9 10; do sleep 3 & done; echo all started";
    const output = await printed("forker", ["--limit-pids", "5"], fork);
    expect(output).toContain("can't fork");
    expect(output).not.toContain("all started");
  });

  it("shows the exit status of what failed", async () => {
    await stage.create("failing", once, stage.image("tools"), "sh", "-c", "echo last words >&2; exit 42");
    const task = await stage.task("failing", "failed", (row) => row.currentState === "FAILED");
    expect(task).toMatchObject({ exitCode: 42, error: "task: non-zero exit (42)" });
    const { stderr } = await stage.swarm.ctl(["service", "logs", "--raw", "failing"]);
    expect(stderr).toBe("last words\n");
    await stage.ctl(["service", "rm", "failing"]);
  });

  it("names a program that is not in the image", async () => {
    await stage.create("typo", once, stage.image("tools"), "/no/such/program");
    const task = await stage.task("typo", "is over", (row) => ["REJECTED", "FAILED"].includes(row.currentState));
    expect(task.error).toMatch(/\/no\/such\/program.*(ENOENT|no such file)/i);
    await stage.ctl(["service", "rm", "typo"]);
  });

  it("gets its stop signal, and SIGKILL only after its grace", async () => {
    const polite = "trap 'echo got USR1; exit 3' USR1; while :; do sleep 0.1; done";
    const stubborn = "trap 'echo ignored' TERM; while :; do sleep 0.1; done";
    await stage.create("polite", ["--stop-signal", "SIGUSR1"], stage.image("tools"), "sh", "-c", polite);
    await stage.create("stubborn", ["--stop-grace-period", "2s"], stage.image("tools"), "sh", "-c", stubborn);
    await stage.running("polite", 1);
    await stage.running("stubborn", 1);
    const asked = performance.now();
    for (const name of ["polite", "stubborn"]) await stage.ctl(["service", "update", "--detach", "--force", name]);
    const ended = (row: { currentState: string }) => row.currentState === "SHUTDOWN";
    const polite1 = await stage.task("polite", "is shut down", ended);
    expect(polite1.exitCode).toBe(3);
    expect(await stage.ctl(["service", "logs", "--raw", polite1.id])).toBe("got USR1\n");
    const stubborn1 = await stage.task("stubborn", "is shut down", ended);
    expect(stubborn1.exitCode).toBe(137);
    expect(performance.now() - asked).toBeGreaterThan(2_000);
    expect(await stage.ctl(["service", "logs", "--raw", stubborn1.id])).toBe("ignored\n");
    await stage.ctl(["service", "rm", "polite", "stubborn"]);
  });

  it("is isolated from its host", async () => {
    const checks = {
      mount: "mount -t tmpfs none /mnt 2>&1 || echo refused",
      unshare: "/unshare --user true 2>&1 || echo refused",
      status: "grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status",
      namespaces: "for n in pid net ipc uts mnt cgroup; do readlink /proc/self/ns/$n; done",
      masked: "cat /proc/interrupts /proc/keys /proc/timer_list | wc -c; ls -A /sys/firmware /proc/acpi | grep -vc :",
      proc: "echo 1 2>/dev/null > /proc/sys/kernel/panic || echo refused",
      sys: "touch /sys/kernel/x 2>/dev/null || echo refused",
      pids: "echo $$",
      devices: "mknod /tmp/disk b 8 0 && dd if=/tmp/disk of=/dev/null bs=1 count=1 2>/dev/null || echo refused",
    };
    const script = Object.entries(checks).map(([name, check]) => `echo "== ${name}"; { ${check}; }`);
    const flags = ["--mount", "type=bind,source=/usr/bin/unshare,target=/unshare,readonly"];
    const output = await printed("isolated", flags, script.join("\n"));
    const sections = new Map(
      output
        .split("== ")
        .slice(1)
        .map((section) => [section.split("\n")[0], section.split("\n").slice(1).join("\n").trim()]),
    );
    const of = (name: keyof typeof checks) => sections.get(name) ?? "";
    expect(of("mount")).toMatch(/refused$/);
    expect(of("unshare")).toMatch(/not permitted[\s\S]*refused$/);
    // Docker's 14 capabilities.
    expect(of("status").split(/\s+/)).toEqual(["CapEff:", "00000000a80425fb", "NoNewPrivs:", "1", "Seccomp:", "2"]);
    const host = await stage.host("m1").mustExec(checks.namespaces);
    const own = of("namespaces").split("\n");
    expect(own).toHaveLength(6);
    for (const namespace of host.trim().split("\n")) expect(own).not.toContain(namespace);
    expect(of("masked").split("\n")).toEqual(["0", "1"]); // One blank line between two empty folders.
    expect([of("proc"), of("sys"), of("devices")]).toEqual(["refused", "refused", "refused"]);
    expect(of("pids")).toBe("1");
  });

  it("has its variables, mounts, secrets and configs", async () => {
    const { stateFolder } = stage.host("m1");
    mkdirSync(join(stateFolder, "shared"));
    writeFileSync(join(stateFolder, "shared/in"), "from the host");
    await stage.ctl(["secret", "create", "password", "-"], { input: "hunter2" });
    await stage.ctl(["config", "create", "motd", "-"], { input: "good morning" });
    const output = await printed(
      "furnished",
      [
        ...["--env", "GREETING=hello world", "--hostname", "named"],
        ...["--mount", "type=bind,source=/var/lib/swarmd/shared,target=/shared"],
        ...["--mount", "type=bind,source=/var/lib/swarmd/shared,target=/shared-ro,readonly"],
        ...["--mount", "type=tmpfs,target=/scratch,tmpfs-size=1m"],
        ...["--secret", "password", "--config", "source=motd,target=/etc/motd,mode=0400"],
      ],
      [
        "echo $GREETING from $(hostname)",
        "cat /shared/in && echo && echo back > /shared/out",
        "touch /shared-ro/x 2>/dev/null || echo read-only",
        "df -P /scratch | awk 'NR == 2 { print $2 }'; dd if=/dev/zero of=/scratch/big bs=1M count=2 2>/dev/null || echo full",
        "cat /run/secrets/password; echo; grep -c ' /run/secrets' /proc/mounts",
        "cat /etc/motd; stat -c ' %a' /etc/motd",
      ].join("\n"),
    );
    const lines = output.trim().split("\n");
    expect(lines[0]).toBe("hello world from named");
    expect(lines.slice(1, 6)).toEqual(["from the host", "read-only", "1024", "full", "hunter2"]);
    expect(Number(lines[6])).toBeGreaterThan(0);
    expect(lines[7]).toBe("good morning 400");
    expect(await stage.host("m1").mustExec(["cat", "/var/lib/swarmd/shared/out"])).toBe("back\n");
    await until("the secret's file is gone with its container", async () => {
      const found = await stage
        .host("m1")
        .exec("grep -rl hunter2 /run/starling /var/lib/swarmd/containers 2>/dev/null");
      return found.stdout === "";
    });
    await stage.ctl(["secret", "rm", "password"]);
  });

  it("hands out secrets and configs that are templates", async () => {
    const template = '{{if eq .Task.Slot "1"}}{{env "MODE"}} {{secret "token"}}@{{.Node.Hostname}}{{end}}';
    expect(
      await stage.refusal(["config", "create", "--template-driver", "jinja", "bad", "-"], { input: "x" }),
    ).toContain('config templating "jinja" is unknown: use golang');
    await stage.ctl(["secret", "create", "token", "-"], { input: "t0ps3cret" });
    await stage.ctl(["config", "create", "--template-driver", "golang", "app", "-"], { input: template });
    await stage.ctl(["secret", "create", "--template-driver", "golang", "nested", "-"], {
      input: '<{{config "/app"}}>',
    });
    const files = ["--secret", "token", "--secret", "nested", "--config", "source=app,target=/app"];
    const output = await printed(
      "templates",
      ["--env", "MODE=live", ...files],
      "cat /app; echo; cat /run/secrets/nested",
    );
    // A payload within a payload is as it was stored.
    expect(output.split("\n")).toEqual(["live t0ps3cret@m1", expect.stringMatching(/^<.*>$/)]);
    await stage.ctl(["config", "create", "--template-driver", "golang", "wrong", "-"], { input: '{{secret "none"}}' });
    await stage.create("wrong", [...once, "--config", "wrong"], stage.image("busybox"), "true");
    const task = await stage.task("wrong", "is rejected", ({ currentState }) => currentState === "REJECTED");
    expect(task.error).toContain("config wrong: secret target none not found");
    await stage.ctl(["service", "rm", "wrong"]);
    await stage.ctl(["config", "rm", "app", "wrong"]);
    await stage.ctl(["secret", "rm", "token", "nested"]);
  });

  it("finds every kind of file in its image as it was made", async () => {
    await stage.create("oddities", once, stage.image("oddities"));
    expect(await stage.outputOf("oddities")).toBe("ok\n");
    await stage.ctl(["service", "rm", "oddities"]);
  });

  it("has its output shown by service logs: tail, both streams, while it runs", async () => {
    const talk = "for i in 1 2 3 4 5; do echo line $i; done; echo error >&2; exec sleep 1000";
    await stage.create("talker", [], stage.image("tools"), "sh", "-c", talk);
    await stage.running("talker", 1);
    await until("all is logged", async () => (await stage.swarm.ctl(["service", "logs", "talker"])).stderr !== "");
    const { stdout, stderr } = await stage.swarm.ctl(["service", "logs", "--tail", "3", "talker"]);
    expect(stdout.trim().split("\n")).toHaveLength(2);
    expect(stdout).toMatch(/^talker\.1\.\w+@m1\s+\| line 4\n/);
    expect(stderr).toMatch(/^talker\.1\.\w+@m1\s+\| error\n$/);
    const [task] = await stage.running("talker", 1);
    const ofTask = (...flags: string[]) => stage.ctl(["task", "logs", "--raw", ...flags, task!.id]);
    expect(await ofTask()).toBe("line 1\nline 2\nline 3\nline 4\nline 5\n");
    expect(await ofTask("--since", "2099-01-01T00:00:00Z"), "nothing is of then").toBe("");
    expect(await ofTask("--since", "1h", "--tail", "2")).toBe("line 5\n");
    expect(await ofTask("--timestamps", "--tail", "2")).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z line 5\n$/);
    await stage.ctl(["service", "rm", "talker"]);
  });
});
