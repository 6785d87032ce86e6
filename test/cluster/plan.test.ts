import { describe, expect, it } from "vitest";
import { hierarchies } from "./cgroups.ts";
import { hostsFile, planHosts } from "./plan.ts";

describe("planHosts", () => {
  it("gives conventional names their addresses and others the rest, with MACs that follow", () => {
    const plan = planHosts(["reg", "m1", "w2", "client", "m10"]);
    expect(plan.map((h) => h.address)).toEqual(["10.99.0.2", "10.99.0.11", "10.99.0.22", "10.99.0.100", "10.99.0.101"]);
    expect(plan[2]?.mac).toBe("02:00:0a:63:00:16");
    expect(hostsFile(plan)).toContain("\n10.99.0.22 w2\n");
  });

  it.each(["", "M1", "1m", "a-b", "elevenchars", "switch", "cluster"])("refuses the name %j", (name) => {
    expect(() => planHosts([name])).toThrow(`host name "${name}"`);
  });
});

describe("hierarchies", () => {
  const mount = (root: string, point: string, type: string, options: string) =>
    `31 30 0:29 ${root} ${point} rw,relatime shared:9 - ${type} ${type} rw,${options}`;

  it("hybrid: below the process's own group in each", () => {
    const found = hierarchies(
      "4:memory:/session/1\n3:cpu,cpuacct:/\n1:name=systemd:/x\n0::/\n",
      [
        mount("/", "/sys/fs/cgroup/cpu,cpuacct", "cgroup", "cpu,cpuacct"),
        mount("/", "/sys/fs/cgroup/memory", "cgroup", "memory"),
        mount("/", "/sys/fs/cgroup/systemd", "cgroup", "xattr,name=systemd"),
        mount("/", "/sys/fs/cgroup/unified", "cgroup2", "nsdelegate"),
        mount("/", "/proc", "proc", ""),
      ].join("\n"),
    );
    expect(found).toEqual([
      { kind: "v1", controllers: ["cpu", "cpuacct"], parent: "/sys/fs/cgroup/cpu,cpuacct" },
      { kind: "v1", controllers: ["memory"], parent: "/sys/fs/cgroup/memory/session/1" },
      { kind: "v1", controllers: ["name=systemd"], parent: "/sys/fs/cgroup/systemd/x" },
      { kind: "v2", controllers: [], parent: "/sys/fs/cgroup/unified" },
    ]);
  });

  it("pure v2: at the top of the mount, whatever the process's own group", () => {
    const found = hierarchies("0::/user.slice/x\n", mount("/", "/sys/fs/cgroup", "cgroup2", ""));
    expect(found).toEqual([{ kind: "v2", controllers: [], parent: "/sys/fs/cgroup" }]);
  });

  it("a mount that shows a hierarchy from a group down", () => {
    const found = hierarchies(
      "4:memory:/docker/1/x\n0::/\n",
      mount("/docker/1", "/sys/fs/cgroup/memory", "cgroup", "memory"),
    );
    expect(found[0]?.parent).toBe("/sys/fs/cgroup/memory/x");
  });
});
