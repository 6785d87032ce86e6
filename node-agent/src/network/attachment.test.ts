import {
  Annotations,
  Driver,
  Endpoint,
  IPAMConfig,
  IPAMOptions,
  Network,
  NetworkAttachment,
  NetworkSpec,
  PortConfig,
  PortConfig_PublishMode,
  Task,
} from "@starling/api";
import { expect, it } from "vitest";
import { planAttachment } from "./attachment.ts";

function on(id: string, spec: Partial<NetworkSpec>, addresses: readonly string[]): NetworkAttachment {
  const network = Network.create({
    id,
    spec: NetworkSpec.create({ annotations: Annotations.create({ name: id }), ...spec }),
  });
  return NetworkAttachment.create({ network, addresses, aliases: [`${id}-alias`] });
}

const planned = (networks: readonly NetworkAttachment[], ports: readonly PortConfig[] = []) => {
  const found = planAttachment(Task.create({ id: "t", networks, endpoint: Endpoint.create({ ports }) }));
  if ("refused" in found) throw new Error(found.refused);
  return found.attachment;
};

const internal = on("back", { internal: true }, ["10.0.1.5/24"]);
const open = on("front", {}, ["10.0.2.5/24", "fd01::5/64"]);
const ingress = on("ingress", { ingress: true }, ["10.255.0.5/16"]);

it("a task of internal networks alone has no way out, unless it publishes", () => {
  const hostPort = PortConfig.create({ targetPort: 80, publishMode: PortConfig_PublishMode.HOST });
  expect(planned([internal]).wayOut).toBe(false);
  expect(planned([internal, open]).wayOut).toBe(true);
  expect(planned([internal], [hostPort]).wayOut).toBe(true);
  expect(planned([ingress, internal])).toMatchObject({ wayOut: true, ingressAddress: "10.255.0.5" });
  expect(planned([]).wayOut).toBe(true);
});

it("a task on the hosts' own network has its way out by that network's gateway", () => {
  const lan = (spec: Partial<NetworkSpec> = {}) => {
    const made = on("lan", spec, ["192.168.7.5/24", "fd07::5/64"]);
    const options = { parent: "eth0,ens3", macvlan_mode: "private", "com.docker.network.driver.mtu": "1400" };
    const driverConfig = Driver.create({ name: "macvlan", options });
    const configs = ["192.168.7.1", "fd07::1"].map((gateway) => IPAMConfig.create({ gateway }));
    const network = { ...made.network!, ipam: IPAMOptions.create({ configs }) };
    return { ...made, network: { ...network, spec: { ...network.spec, driverConfig } } };
  };
  expect(planned([lan()])).toMatchObject({
    wayOut: false,
    overlays: [
      {
        parent: {
          driver: "macvlan",
          parents: ["eth0", "ens3"],
          mode: "private",
          gateways: ["192.168.7.1", "fd07::1"],
          mtu: 1400,
        },
      },
    ],
  });
  expect(planned([lan({ internal: true })]).overlays[0]?.parent?.gateways).toEqual([]);
  expect(planned([lan(), open]).wayOut).toBe(true);
});

it("interfaces come in the order of the networks, with the addresses and aliases there", () => {
  expect(planned([ingress, internal, open]).overlays).toEqual([
    { networkId: "back", networkName: "back", cidr: "10.0.1.5/24", cidr6: undefined, names: ["back-alias"] },
    { networkId: "front", networkName: "front", cidr: "10.0.2.5/24", cidr6: "fd01::5/64", names: ["front-alias"] },
  ]);
});

it("a task without an IPv4 address on one of its networks is refused", () => {
  expect(planAttachment(Task.create({ networks: [on("six", {}, ["fd01::5/64"])] }))).toEqual({
    refused: "network six: the task has no address on it",
  });
});
