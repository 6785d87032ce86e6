import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  BoolValue,
  Config,
  ConfigReference,
  ConfigSpec,
  ContainerSpec,
  FileTarget,
  HealthConfig,
  LogSubscriptionOptions,
  PortConfig,
  PortConfig_PublishMode,
  PortStatus,
  ResourceRequirements,
  Resources,
  Task,
  TaskSpec,
} from "@starling/api";
import { newId } from "@starling/base";
import { readShimState } from "@starling/native";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Dependencies } from "../dependencies/dependencies.ts";
import type { Controller } from "../exec/controller.ts";
import { noNetwork } from "../exec/network-attacher.ts";
import type { ContainerExecutor } from "./executor.ts";
import type { TestRegistry } from "./test-registry.ts";
import { ContainerStage, outputOf } from "./test-stage.ts";

const signal = new AbortController().signal;
const MiB = 2 ** 20;
let stage: ContainerStage;
let folder: string;
let registry: TestRegistry;
let executor: ContainerExecutor;
const dependencies = new Dependencies();

/** The host-mode port that the network has chosen a number for. */
const chosenPort = PortConfig.create({
  targetPort: 80,
  publishedPort: 50_123,
  publishMode: PortConfig_PublishMode.HOST,
});

beforeAll(async () => {
  stage = await ContainerStage.open(() => ({
    dependencies,
    network: {
      ...noNetwork,
      attach: async () => ({ resolvConf: "nameserver 127.0.0.11\n", addresses: ["10.9.8.7"] }),
      hostPorts: () => [chosenPort],
    },
  }));
  ({ folder, registry, executor } = stage);
});

afterAll(() => stage?.close());

/** A task of the test image; `script` is run by its shell. */
function task(script: string, spec: Partial<ContainerSpec> = {}, limits?: Partial<Resources>): Task {
  const container = ContainerSpec.create({ image: registry.image, command: ["sh", "-c", script], ...spec });
  const resources = limits && ResourceRequirements.create({ limits: Resources.create(limits) });
  return Task.create({ id: newId(), nodeId: "n1", slot: 2, spec: TaskSpec.create({ container, resources }) });
}

async function started(of: Task): Promise<Controller> {
  const controller = executor.controller(of);
  await controller.prepare(signal);
  await controller.start(signal);
  return controller;
}

/** Resolves when it has printed something. */
async function speaks(controller: Controller): Promise<void> {
  const options = LogSubscriptionOptions.create({ follow: true });
  for await (const _chunk of controller.logs(options, signal)) return;
}

/** Runs to its end; what it printed. */
async function run(of: Task): Promise<string> {
  const controller = await started(of);
  await controller.wait(signal);
  const text = await outputOf(controller);
  await controller.remove(signal);
  return text;
}

const errorOf = (promise: Promise<unknown>) =>
  promise.then(
    () => "no error",
    (error: Error) => error.message,
  );

/** Not ended; a zombie that this machine's init has not collected yet has. */
function isAlive(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}

describe("a container", () => {
  it("runs the image's layers with its environment, host name and process tree", async () => {
    const text = await run(
      task("cat /added; ls /hidden 2>&1; echo $FROM_IMAGE $EXTRA $HOSTNAME; hostname; echo pid $$; cat /etc/hostname", {
        hostname: "web-{{.Task.Slot}}",
        env: ["EXTRA={{.Node.Hostname}}"],
      }),
    );
    expect(text.split("\n").slice(0, -1)).toEqual([
      "by the second layer",
      "ls: /hidden: No such file or directory",
      "yes host1 web-2",
      "web-2",
      "pid 1",
      "web-2",
    ]);
  });

  it("knows its address by its host name, and says which host ports it answers on", async () => {
    const of = task("grep web /etc/hosts; cat /etc/resolv.conf", { hostname: "web-{{.Task.Slot}}" });
    expect(await run(of)).toBe("10.9.8.7\tweb-2\nnameserver 127.0.0.11\n");
    expect(await executor.controller(of).portStatus()).toEqual(PortStatus.create({ ports: [chosenPort] }));
  });

  it("has few privileges", async () => {
    const text = await run(
      task(
        [
          "mount -t tmpfs x /mnt 2>&1; unshare -U true 2>&1; chroot / true && echo chroot",
          "grep -E 'NoNewPrivs|Seccomp:|CapEff' /proc/self/status",
          "mknod /tmp-disk b 254 0; head -c1 /tmp-disk 2>&1; echo x > /proc/sys/kernel/hostname; hostname x 2>&1; true",
        ].join("; "),
      ),
    );
    expect(text).toContain("mount: permission denied");
    expect(text).toContain("unshare(0x10000000): Operation not permitted");
    expect(text).toContain("CapEff:\t00000000a80425fb\nNoNewPrivs:\t1\nSeccomp:\t2\n");
    expect(text).toContain("head: /tmp-disk: Operation not permitted");
    expect(text).toContain("can't create /proc/sys/kernel/hostname: Read-only file system");
    expect(text).toContain("sethostname: Operation not permitted");
  });

  it("runs as the image's user with its groups, without capabilities", async () => {
    const text = await run(task("id; grep CapEff /proc/self/status; echo $HOME; pwd", { user: "app", dir: "/work/a" }));
    expect(text).toBe(
      "uid=1000(app) gid=1000(app) groups=1000(app),2000(extra)\nCapEff:\t0000000000000000\n/home/app\n/work/a\n",
    );
  });

  it("has an init that reaps and forwards when asked", async () => {
    // An orphan that nobody reaps stays in /proc: then the program never gets to its exit.
    const reaped = "while [ -d /proc/$(cat /orphan) ]; do sleep 0.01; done";
    const script = `(sleep 0.05 & echo $! > /orphan); trap '${reaped}; ps; exit 9' TERM; echo up; while :; do sleep 0.05; done`;
    const controller = await started(task(script, { init: BoolValue.create({ value: true }) }));
    await speaks(controller);
    await controller.shutdown(signal);
    expect(await outputOf(controller)).toMatch(/^up\n(Terminated\n)?PID {3}USER {5}COMMAND\n {4}1 root/);
    expect((await controller.containerStatus())?.exitCode).toBe(9);
  });

  it("tells its exit code, and why the kernel killed it", async () => {
    const failing = await started(task("exit 3"));
    expect(await errorOf(failing.wait(signal))).toBe("task: non-zero exit (3)");
    expect(await failing.containerStatus()).toMatchObject({ exitCode: 3, pid: 0 });
    // The shell's own memory grows past the limit.
    const hungry = await started(task("x=0123456789; while :; do x=$x$x; done", {}, { memoryBytes: 16 * MiB }));
    expect(await errorOf(hungry.wait(signal))).toBe(
      "task: non-zero exit (137): out of memory: its memory limit was reached",
    );
  });

  it("meets its limits of processes and CPU", async () => {
    const text = await run(task("for i in 1 2 3 4 5 6 7 8; do sleep 0.2 & done; wait", { pidsLimit: 5 })).catch(String);
    expect(text).toMatch(/can't fork|non-zero exit/);
    // `times` prints the CPU time of the shell and, in its second line, of its ended children.
    const limited = task("timeout -s KILL 0.6 sh -c 'while :; do :; done'; times", {}, { nanoCpus: 2e8 });
    const [, user, system] = /\n0m([\d.]+)s 0m([\d.]+)s/.exec(await run(limited))!;
    expect(Number(user) + Number(system)).toBeLessThan(0.3);
  });

  it("gets its stop signal, and SIGKILL when the grace period is over", async () => {
    const polite = await started(
      task("trap 'echo bye; exit 7' USR1; echo hello; while :; do sleep 0.05; done", { stopSignal: "SIGUSR1" }),
    );
    await speaks(polite);
    await polite.shutdown(signal);
    expect(await outputOf(polite)).toBe("hello\nbye\n");
    expect((await polite.containerStatus())?.exitCode).toBe(7);
    const stubborn = await started(
      task("trap '' TERM; while :; do sleep 0.05; done", { stopGracePeriod: { seconds: 0, nanos: 2e8 } }),
    );
    await stubborn.shutdown(signal);
    expect((await stubborn.containerStatus())?.exitCode).toBe(137);
  });

  it("is found again by a new controller, and leaves nothing behind", async () => {
    const of = task("echo before; while [ ! -e /go ]; do sleep 0.02; done; echo after");
    await started(of);
    const bundle = join(folder, "run", "containers", of.id);
    const { cgroups, shimPid } = (await readShimState(bundle))!;
    const again = stage.newExecutor();
    const found = again.controller(of);
    await found.start(signal);
    const { pid } = (await found.containerStatus())!;
    writeFileSync(`/proc/${pid}/root/go`, "");
    await found.wait(signal);
    expect(await outputOf(found)).toBe("before\nafter\n");
    await found.remove(signal);
    await again.close();
    expect(cgroups.filter((group) => existsSync(group))).toEqual([]);
    expect(isAlive(shimPid)).toBe(false);
    expect(existsSync(bundle) || existsSync(join(folder, "state", "containers", of.id))).toBe(false);
    expect(readFileSync("/proc/self/mountinfo", "utf8")).not.toContain(folder);
  });

  it("outlives a swarmd that is killed", async () => {
    const of = task("trap 'echo told; exit 4' TERM; echo up; while :; do sleep 0.02; done");
    const fixture = join(import.meta.dirname, "survive.fixture.ts");
    const words = [fixture, folder, Buffer.from(Task.encode(of)).toString("base64")];
    // A session of its own, as a service manager gives it.
    const swarmd = spawn(process.execPath, words, { stdio: ["ignore", "pipe", "inherit"], detached: true });
    await once(swarmd.stdout, "data");
    process.kill(-swarmd.pid!, "SIGKILL");
    await once(swarmd, "close");
    const controller = executor.controller(of);
    expect(isAlive((await controller.containerStatus())!.pid)).toBe(true);
    await speaks(controller);
    await controller.shutdown(signal);
    expect(await outputOf(controller)).toBe("up\ntold\n");
    expect((await controller.containerStatus())?.exitCode).toBe(4);
  });

  it("ends with its shim", async () => {
    const of = task("sleep 1000");
    const controller = await started(of);
    const { pid } = (await controller.containerStatus())!;
    const { cgroups, shimPid } = (await readShimState(join(folder, "run", "containers", of.id)))!;
    const waiting = errorOf(controller.wait(signal));
    process.kill(shimPid, "SIGKILL");
    expect(await waiting).toBe("task: non-zero exit (137): the container's shim was killed");
    expect(isAlive(pid)).toBe(false);
    expect(cgroups.filter((group) => existsSync(group))).toEqual([]);
  });

  it("gets configs as files", async () => {
    const config = Config.create({
      id: "c1",
      spec: ConfigSpec.create({ data: Buffer.from("key=value\n") }),
    });
    dependencies.setConfig(config);
    const file = FileTarget.create({ name: "/etc/app/app.conf", uid: "1000", gid: "1000", mode: 0o440 });
    const configs = [ConfigReference.create({ configId: "c1", configName: "app", file })];
    const text = await run(
      task("cat /etc/app/app.conf; stat -c '%a %u' /etc/app/app.conf; touch /etc/app/app.conf 2>&1; true", { configs }),
    );
    expect(text).toBe("key=value\n440 1000\ntouch: /etc/app/app.conf: Read-only file system\n");
  });

  it("is up by its start interval, however long its interval is", async () => {
    const hour = { seconds: 3600, nanos: 0 };
    const healthcheck = HealthConfig.create({
      test: ["CMD-SHELL", "test -e /healthy"],
      interval: hour,
      startPeriod: hour,
      startInterval: { seconds: 0, nanos: 3e7 },
      retries: 1,
    });
    // It fails before it passes, which does not count while it starts.
    const up = await started(task("sleep 0.2; touch /healthy; sleep 1000", { healthcheck }));
    expect((await up.containerStatus())?.pid).toBeGreaterThan(0);
    await up.remove(signal);
  });

  it("fails when its health check does", async () => {
    const healthcheck = HealthConfig.create({
      test: ["CMD-SHELL", "test -e /healthy"],
      interval: { seconds: 0, nanos: 3e7 },
      retries: 2,
    });
    // A shell that is PID 1 does not heed SIGTERM.
    const stopGracePeriod = { seconds: 0, nanos: 5e7 };
    const well = await started(
      task("touch /healthy; sleep 0.3; rm /healthy; sleep 1000", { healthcheck, stopGracePeriod }),
    );
    expect(await errorOf(well.wait(signal))).toBe("unhealthy container");
    const ill = task("sleep 1000", { healthcheck });
    expect(await errorOf(started(ill))).toBe("unhealthy container");
  });
});

describe("bad tasks", () => {
  it.each<[name: string, spec: Partial<ContainerSpec>, expected: RegExp]>([
    [
      "an image that its registry does not have",
      { image: "nosuch" },
      /^No such image: 127\.0\.0\.1:\d+\/nosuch:latest$/,
    ],
    ["a bad reference", { image: "Not/A Reference" }, /not a valid repository\/tag/],
    ["an unknown program", { command: ["nosuch"] }, /"nosuch": executable file not found in \$PATH/],
    ["an unknown user", { user: "nobody-here" }, /unable to find user nobody-here/],
    ["an unknown group", { user: "0:nogroup" }, /unable to find group nogroup/],
    ["an unknown capability", { capabilityAdd: ["FLY"] }, /unknown capability "FLY"/],
    ["a sysctl of the host", { sysctls: { "kernel.panic": "1" } }, /not of the container's own namespaces/],
  ])("%s", async (_name, spec, expected) => {
    const image = spec.image === "nosuch" ? registry.image.replace("box:1", "nosuch") : (spec.image ?? registry.image);
    const of = task("true", { ...spec, image });
    expect(await errorOf(started(of))).toMatch(expected);
    expect(
      readdirSync(join(folder, "run", "containers")).includes(of.id) &&
        existsSync(join(folder, "run", "containers", of.id, "shim.sock")),
    ).toBe(false);
  });
});
