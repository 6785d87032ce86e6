import {
  NetworkStateChange,
  NetworkStateEndpoint,
  NetworkStateMessage,
  NetworkStateMessage_Type,
  NetworkStateNetwork,
  NetworkStateService,
  NetworkStateServiceNetwork,
} from "@starling/api";
import { decode, encode, type Packet, type RecordType } from "dns-packet";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { NetworkView } from "../state.ts";
import { answerQuery, isPlausibleQuery, Rcode, udpLimit } from "./answer.ts";
import { parseResolvConf, renderResolvConf } from "./resolv-conf.ts";
import { Zone } from "./zone.ts";

const service = (id: string, networkId: string, virtualIp: string) =>
  NetworkStateChange.create({
    service: NetworkStateService.create({
      id,
      name: id,
      networks: [NetworkStateServiceNetwork.create({ networkId, virtualIp, aliases: [`${id}-alias`] })],
    }),
  });
const endpoint = (taskId: string, serviceId: string, networkId: string, address: string, serving = true) =>
  NetworkStateChange.create({
    endpoint: NetworkStateEndpoint.create({
      networkId,
      taskId,
      serviceId,
      address,
      serving,
      names: [`${serviceId}.${taskId}`],
    }),
  });
const network = (id: string) =>
  NetworkStateChange.create({ network: NetworkStateNetwork.create({ id, name: `${id}-net` }) });

const view = new NetworkView();
view.apply(
  NetworkStateMessage.create({
    changes: [
      network("a"),
      network("b"),
      service("web", "a", "10.0.0.2"),
      service("db", "a", ""),
      service("hidden", "b", "10.0.1.2"),
      endpoint("1", "web", "a", "10.0.0.5"),
      endpoint("2", "db", "a", "10.0.0.6"),
      endpoint("3", "db", "a", "10.0.0.7"),
      endpoint("4", "db", "a", "10.0.0.8", false),
    ],
  }),
);
const zone = new Zone(view, new Set());
const names = {
  lookup: (name: string) => zone.lookup(["a"], name),
  reverse: (address: string) => zone.reverse(["a"], address),
};

function ask(name: string, type: RecordType = "A", rotation = 0): Packet | "forward" {
  const query = decode(encode({ type: "query", id: 7, flags: 0x100, questions: [{ type, name } as never] }));
  return answerQuery(query, names, rotation);
}

const addresses = (answer: Packet | "forward") =>
  answer === "forward" ? answer : answer.answers?.map((record) => (record as { data: unknown }).data);

describe("EDNS", () => {
  const asked = (record: object) =>
    answerQuery(
      decode(
        encode({
          type: "query",
          id: 7,
          questions: [{ type: "A", name: "web" }],
          additionals: [{ type: "OPT", name: ".", ...record } as never],
        }),
      ),
      names,
      0,
    ) as Packet;

  it("is answered with EDNS, and bounds what goes over UDP", () => {
    const answer = asked({ udpPayloadSize: 1232 });
    expect(decode(encode(answer)).additionals).toMatchObject([
      { type: "OPT", udpPayloadSize: 4096, ednsVersion: 0, extendedRcode: 0 },
    ]);
    expect(addresses(answer)).toEqual(["10.0.0.2"]);
    expect((ask("web") as Packet).additionals).toEqual([]);
    const limit = (size: number) =>
      udpLimit({ additionals: [{ type: "OPT", name: ".", udpPayloadSize: size } as never] });
    expect([limit(100), limit(1232), limit(65_000), udpLimit({})]).toEqual([512, 1232, 4096, 512]);
  });

  it("of a later version is refused, saying which is known", () => {
    const answer = asked({ ednsVersion: 1 });
    expect(answer.answers ?? []).toEqual([]);
    expect(decode(encode(answer)).additionals).toMatchObject([{ type: "OPT", ednsVersion: 0, extendedRcode: 1 }]);
  });
});

describe("names", () => {
  it("of services and aliases give the virtual IP; without one, the tasks that serve", () => {
    expect(addresses(ask("web"))).toEqual(["10.0.0.2"]);
    expect(addresses(ask("WEB-alias."))).toEqual(["10.0.0.2"]);
    expect(addresses(ask("web.a-net"))).toEqual(["10.0.0.2"]);
    expect(addresses(ask("tasks.web"))).toEqual(["10.0.0.5"]);
    expect(addresses(ask("db"))).toEqual(["10.0.0.6", "10.0.0.7"]);
    expect(addresses(ask("db", "A", 1))).toEqual(["10.0.0.7", "10.0.0.6"]);
    expect(addresses(ask("db.4"))).toEqual(["10.0.0.8"]);
  });

  it("of other networks are not seen", () => {
    expect(ask("hidden")).toBe("forward");
  });

  it("of both families give A and AAAA, each when asked, and their reverse names", () => {
    const dual = NetworkStateServiceNetwork.create({ networkId: "a", virtualIp: "10.0.0.9", virtualIp6: "fd01::9" });
    const item = endpoint("1", "dual", "a", "10.0.0.20").endpoint!;
    const added = NetworkStateMessage.create({
      type: NetworkStateMessage_Type.INCREMENTAL,
      changes: [
        NetworkStateChange.create({
          service: NetworkStateService.create({ id: "dual", name: "dual", networks: [dual] }),
        }),
        NetworkStateChange.create({ endpoint: { ...item, address6: "fd01::20" } }),
      ],
    });
    const wider = NetworkView.of({
      networks: view.networks.values(),
      services: view.services.values(),
      endpoints: view.endpoints.values(),
    });
    wider.apply(added);
    const seen = new Zone(wider, new Set());
    const of = {
      lookup: (name: string) => seen.lookup(["a"], name),
      reverse: (address: string) => seen.reverse(["a"], address),
    };
    const said = (name: string, type: RecordType) => {
      const query = encode({ type: "query", id: 7, questions: [{ type, name } as never] });
      return addresses(answerQuery(decode(query), of, 0));
    };
    expect([said("dual", "A"), said("dual", "AAAA")]).toEqual([["10.0.0.9"], ["fd01::9"]]);
    expect([said("tasks.dual", "A"), said("tasks.dual", "AAAA")]).toEqual([["10.0.0.20"], ["fd01::20"]]);
    expect(said("dual.1", "AAAA")).toEqual(["fd01::20"]);
    const reverse = (last: string) => `${last}.${"0.".repeat(26)}1.0.d.f.ip6.arpa`;
    expect([said(reverse("9.0"), "PTR"), said(reverse("0.2"), "PTR")]).toEqual([["dual"], ["dual.1"]]);
    expect(said("9.0.ip6.arpa", "PTR")).toBe("forward");
  });

  it("that are known have no AAAA, which is an answer and no error", () => {
    expect(ask("web", "AAAA")).toMatchObject({ id: 7, answers: [] });
    expect((ask("web", "AAAA") as Packet).flags! & 0xf).toBe(Rcode.ok);
  });

  it("have addresses' names", () => {
    expect(addresses(ask("2.0.0.10.in-addr.arpa", "PTR"))).toEqual(["web"]);
    expect(ask("1.1.168.192.in-addr.arpa", "PTR")).toBe("forward");
  });
});

it("whatever decodes gets an answer that encodes, or is forwarded (hostile input)", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 8, maxLength: 80 }), (rest) => {
      const bytes = Uint8Array.from([0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, ...rest]);
      if (!isPlausibleQuery(bytes)) return;
      let query: Packet;
      try {
        query = decode(Buffer.from(bytes));
      } catch {
        return;
      }
      const answer = answerQuery(query, names, 3);
      if (answer !== "forward") expect(encode(answer).length).toBeGreaterThanOrEqual(12);
    }),
    { numRuns: 2000 },
  );
});

it("a header that claims more than a query has is not decoded", () => {
  const header = (counts: readonly number[]) =>
    Uint8Array.from([0, 7, 1, 0, ...counts.flatMap((n) => [n >> 8, n & 255])]);
  expect(isPlausibleQuery(header([1, 0, 0, 1]))).toBe(true);
  expect(isPlausibleQuery(header([65_535, 0, 0, 0]))).toBe(false);
  expect(isPlausibleQuery(header([1, 0, 0, 65_535]))).toBe(false);
});

it("resolv.conf of a task names our server and the host's search domains", () => {
  const host = parseResolvConf("# x\nnameserver 1.1.1.1\nnameserver 127.0.0.11\nsearch corp.example\noptions edns0\n");
  expect(host.nameservers).toEqual(["1.1.1.1"]);
  expect(renderResolvConf(host, {})).toBe("nameserver 127.0.0.11\nsearch corp.example\noptions ndots:0\n");
});
