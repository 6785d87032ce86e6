import { discreteResource, namedResource } from "@starling/api";
import { describe, expect, it } from "vitest";
import { parseCommand, splitAddress } from "./flags.ts";

describe("swarmd's flags", () => {
  it("runs a swarm of one without any", () => {
    expect(parseCommand([])).toMatchObject({
      t: "run",
      options: { stateDir: "/var/lib/swarmd", listenRemoteApi: "0.0.0.0:4242", joinAddr: undefined },
    });
  });

  it.each([
    [["--join-addr", "10.0.0.1:4242"], /--join-addr "10.0.0.1:4242": also give --join-token/],
    [["--join-token", "SWMTKN-1-x"], /--join-token: also give --join-addr/],
    [["--listen-remote-api", "4242"], /--listen-remote-api "4242": give HOST:PORT/],
    [["--listen-remote-api", "[10.0.0.1]:4242"], /give HOST:PORT/],
    [["--listen-images", "none"], /--listen-images "none": give HOST:PORT/],
    [["--data-path-addr", "eth0"], /--data-path-addr "eth0": give an IP address/],
    [["--data-path-port", "80"], /--data-path-port "80": give a port from 1024 to 49151/],
    [["--default-addr-pool", "10.0.0.0/25"], /address pool "10.0.0.0\/25" has no room for a subnet of \/24/],
    [["--default-addr-pool", "fd00::/65"], /address pool "fd00::\/65" has no room for an IPv6 subnet of \/64/],
    [["--default-addr-pool-mask-length", "30"], /mask length "30" must be a whole number from 8 to 29/],
    [["--log-level", "loud"], /--log-level "loud": give one of debug/],
    [["--election-tick", "0"], /--election-tick "0": give a whole number/],
    [["--unlock-key", "SWMKEY-1-short"], /--unlock-key: invalid unlock key: expected SWMKEY-1-… /],
    [["--image-gc-age", "30d"], /--image-gc-age "30d": give a duration/],
    [["--image-gc-free", "95"], /--image-gc-free "95": give a percentage from 0 to 90/],
    [
      ["--generic-node-resources", "gpu"],
      /--generic-node-resources: .*incorrect term gpu.*write kind=count or kind=name/,
    ],
    [["--generic-node-resources", "gpu="], /incorrect term gpu=/],
    [["--label", "=ssd"], /--label "=ssd": begin with a name, e.g. disk=ssd/],
    [["--label", "disk=ssd", "--label", "disk=hdd"], /--label "disk=hdd": disk has a value already/],
    [["--generic-node-resources", "gpu=1,gpu=a"], /mixed discrete and named resources/],
    [["--generic-node-resources", "gpu=a,gpu=a"], /--generic-node-resources: gpu=a is named twice: name each once/],
    [["--virtual-ips", "ipvs"], /--virtual-ips "ipvs": give auto, ebpf or nftables/],
    [["--overlay-frames", "nftables"], /--overlay-frames "nftables": give auto, ebpf or bridge/],
    [["--routing-mesh", "ipvs"], /--routing-mesh "ipvs": give auto, ebpf or nftables/],
    [["--nonsense"], /Unknown option '--nonsense' \(see swarmd --help\)/],
  ])("refuses %j", (args, message) => {
    expect(() => parseCommand(args)).toThrow(message);
  });

  it("says what a new swarm's networks are made of", () => {
    const pools = ["--default-addr-pool", "10.64.0.0/12", "--default-addr-pool", "fd00::/48"];
    expect(parseCommand([...pools, "--default-addr-pool-mask-length", "20", "--data-path-port", "4790"])).toMatchObject(
      {
        options: {
          newCluster: { defaultAddressPool: ["10.64.0.0/12", "fd00::/48"], subnetSize: 20, vxlanUdpPort: 4790 },
        },
      },
    );
  });

  it("shares images unless told otherwise", () => {
    expect(parseCommand([])).toMatchObject({ options: { listenImages: "0.0.0.0:4243" } });
    expect(parseCommand(["--listen-images", "off"])).toMatchObject({ options: { listenImages: undefined } });
  });

  it("offers generic resources by name and by count, in one list or several", () => {
    const args = ["--generic-node-resources", "gpu=a,gpu=b", "--generic-node-resources", "slots=4"];
    expect(parseCommand(args)).toMatchObject({
      options: {
        genericResources: [namedResource("gpu", "a"), namedResource("gpu", "b"), discreteResource("slots", 4)],
      },
    });
    expect(parseCommand([])).toMatchObject({ options: { genericResources: [] } });
  });

  it("takes engine labels as dockerd does", () => {
    const args = ["--label", "disk=ssd", "--label", "rack=a=b", "--label", "spare"];
    expect(parseCommand(args)).toMatchObject({ options: { labels: { disk: "ssd", rack: "a=b", spare: "" } } });
    expect(parseCommand([])).toMatchObject({ options: { labels: {} } });
  });

  it("splits addresses of both families", () => {
    expect(splitAddress("[fd00::1]:4242")).toEqual({ host: "fd00::1", port: 4242 });
    expect(splitAddress(":4242")).toEqual({ host: "", port: 4242 });
    expect(splitAddress("h:70000")).toBeUndefined();
  });
});
