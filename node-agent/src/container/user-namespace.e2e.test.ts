import { chownSync, mkdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  Config,
  ConfigReference,
  ConfigSpec,
  type ContainerSpec,
  FileTarget,
  Mount,
  Mount_Type,
  type Task,
} from "@starling/api";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Dependencies } from "../dependencies/dependencies.ts";
import { ContainerStage, type TaskParts } from "./test-stage.ts";

const signal = new AbortController().signal;
const hostUid = 100_000;
const hostGid = 200_000;
const userNamespace = {
  uids: [{ container: 0, host: hostUid, size: 65_536 }],
  gids: [{ container: 0, host: hostGid, size: 65_536 }],
};
const dependencies = new Dependencies();
let stage: ContainerStage;

beforeAll(async () => {
  stage = await ContainerStage.open(() => ({ userNamespace, dependencies }));
});
afterAll(() => stage?.close());

const run = (script: string, more?: TaskParts) => stage.run(stage.task(script, more));
const asHost = { options: { userns: "host" } };
const bind = (source: string): Partial<ContainerSpec> => ({
  mounts: [Mount.create({ type: Mount_Type.BIND, source, target: "/m" })],
});

describe("a container with ids of its own", () => {
  it("is root inside and nobody's root outside, and sees its image as its own", async () => {
    const script =
      "id -u; cat /proc/self/uid_map /proc/self/gid_map; stat -c '%u %g' /bin/busybox /etc/hosts; stat -c %u /own";
    const [uid, users, groups, ...owners] = (await run(`mkdir /own; ${script}`)).trim().split("\n");
    expect(uid).toBe("0");
    expect([users, groups].map((line) => line!.trim().split(/\s+/))).toEqual([
      ["0", "100000", "65536"],
      ["0", "200000", "65536"],
    ]);
    expect(owners).toEqual(["0 0", "0 0", "0"]);
    expect(await run("cat /proc/self/uid_map", asHost)).toMatch(/^\s+0\s+0\s+4294967295\n$/);
  });

  it("may not what root of the host may: files, whoever binds them into it", async () => {
    const folder = join(stage.folder, "host");
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "secret"), "of root\n", { mode: 0o600 });
    writeFileSync(join(folder, "given"), "of the container\n", { mode: 0o600 });
    chownSync(join(folder, "given"), hostUid, hostGid);
    const script = "cat /m/secret; cat /m/given; stat -c %u /m/secret; touch /m/new && echo made";
    const spec = bind(folder);
    // With the host's ids nothing is in the way.
    expect(await run(script, { ...asHost, spec })).toBe("of root\nof the container\n0\nmade\n");
    expect(await run(script, { spec })).toBe(
      "cat: can't open '/m/secret': Permission denied\nof the container\n65534\ntouch: /m/new: Permission denied\n",
    );
  });

  it("has capabilities over what is its own, and none over the host", async () => {
    const capabilities = { spec: { capabilityAdd: ["ALL"] } };
    const script =
      "hostname inside && hostname; mkdir /own; mount -t tmpfs x /own && echo mounted; ip link set lo down && echo down; " +
      "chroot / true && echo chroot; mknod /disk b 254 0; sysctl -w kernel.panic=1; date -s 2030-01-01 > /dev/null; dmesg | wc -l";
    const lines = (await run(script, capabilities)).trim().split("\n");
    expect(lines.slice(0, 4)).toEqual(["inside", "mounted", "down", "chroot"]);
    expect(lines.slice(4).join("\n")).toMatch(
      /^mknod: .*Operation not permitted\nsysctl: .*\ndate: can't set date: Operation not permitted/,
    );
  });

  it("has devices, a terminal's folder, shared memory, and streams that others of its users can open", async () => {
    const spec = { user: "app" };
    const script =
      "id -u; echo x > /dev/null; head -c 2 /dev/zero | wc -c; echo shared > /dev/shm/x && cat /dev/shm/x; " +
      "echo again > /dev/stdout; ls -ld /dev/pts | awk '{print $3}'; cat /proc/sys/net/ipv4/ping_group_range";
    expect(await run(script, { spec })).toBe("1000\n2\nshared\nagain\nroot\n0\t65535\n");
    const device = { options: { device: "/dev/net/tun:/dev/tunnel" } };
    expect(await run("stat -c '%u %g' /dev/tunnel; (: < /dev/tunnel) && echo open", device)).toBe("0 0\nopen\n");
  });

  it("shares volumes with those that have the host's ids: owners are the same to both", async () => {
    const spec = { mounts: [Mount.create({ type: Mount_Type.VOLUME, source: "shared", target: "/v" })] };
    expect(await run("touch /v/root; touch /v/app; chown 1000:2000 /v/app; stat -c '%u:%g' /v/*", { spec })).toBe(
      "1000:2000\n0:0\n",
    );
    expect(await run("stat -c '%u:%g' /v/*; chown 7 /v/root", { ...asHost, spec })).toBe("1000:2000\n0:0\n");
    expect(await run("stat -c '%u:%g' /v/*", { spec })).toBe("1000:2000\n7:0\n");
    const { mountpoint } = (await stage.executor.volumes.get("shared"))!;
    expect(statSync(join(mountpoint, "app"))).toMatchObject({ uid: 1000, gid: 2000 });
    const filled = { mounts: [Mount.create({ type: Mount_Type.VOLUME, source: "filled", target: "/etc" })] };
    expect(await run("stat -c '%u:%g' /etc/passwd; echo x >> /etc/passwd && echo written", { spec: filled })).toBe(
      "0:0\nwritten\n",
    );
  });

  it("reads its secrets and configs as who they were made for", async () => {
    const config = Config.create({ id: "c1", spec: ConfigSpec.create({ data: Buffer.from("for app\n") }) });
    dependencies.setConfig(config);
    const file = FileTarget.create({ name: "/etc/own", uid: "1000", gid: "1000", mode: 0o400 });
    const configs = [ConfigReference.create({ configId: "c1", configName: "c1", file })];
    expect(await run("cat /etc/own; stat -c '%u:%g %a' /etc/own", { spec: { configs, user: "app" } })).toBe(
      "for app\n1000:1000 400\n",
    );
  });

  it("runs programs beside its own in the same namespaces", async () => {
    const controller = stage.executor.controller(stage.task("sleep 1000"));
    await controller.prepare(signal);
    await controller.start(signal);
    const { pid = 0 } = (await controller.containerStatus()) ?? {};
    expect(readFileSync(`/proc/${pid}/status`, "utf8")).toMatch(
      new RegExp(`^Uid:\\t${hostUid}\\t.*\\nGid:\\t${hostGid}\\t`, "m"),
    );
    const names = ["user", "pid", "net", "ipc", "uts", "mnt", "cgroup", "time"];
    const script = `for n in ${names.join(" ")}; do readlink /proc/self/ns/$n; done; echo > /dev/stdout; id -u; id -g`;
    const stream = await controller.exec({ args: ["sh", "-c", script], user: "1000:2000" });
    let text = "";
    for await (const { data } of stream.output()) text += Buffer.from(data).toString();
    const spaces = names.map((name) => readlinkSync(`/proc/${pid}/ns/${name}`));
    expect(text.trim().split("\n")).toEqual([...spaces, "", "1000", "2000"]);
    expect(spaces.filter((space, i) => space === readlinkSync(`/proc/self/ns/${names[i]}`))).toEqual([]);
    await controller.remove(signal);
  });

  it.each([
    ["privileged", "true"],
    ["pid", "host"],
    ["ipc", "host"],
    ["network", "host"],
  ])("cannot have %s=%s, but with the host's ids", async (name, value) => {
    const of = (more: Readonly<Record<string, string>>): Task =>
      stage.task("echo ran", { options: { [name]: value, ...more } });
    expect(await stage.run(of({}))).toMatch(/this node's containers have user namespaces .* add userns=host/);
    expect(await stage.run(of({ userns: "host" }))).toBe("ran\n");
  });
});
