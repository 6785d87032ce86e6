/** Pure: no clock, no I/O, no randomness. */

import { PortConfig, PortConfig_Protocol, PortConfig_PublishMode } from "@starling/api";
import { UsageError } from "../usage-error.ts";
import { choose } from "./values.ts";

const protocols = choose({
  tcp: PortConfig_Protocol.TCP,
  udp: PortConfig_Protocol.UDP,
  sctp: PortConfig_Protocol.SCTP,
});
const modes = choose({ ingress: PortConfig_PublishMode.INGRESS, host: PortConfig_PublishMode.HOST });
const portMax = 65535;
const rangeMax = 1000;

/**
 * `--publish`: `8080:80`, `80`, `8080:80/udp`, `8000-8002:80-82`, each with `,mode=host`; or the long form
 * `published=8080,target=80,protocol=tcp,mode=host`. Without a published port the cluster picks one.
 */
export function parsePublish(text: string): PortConfig[] {
  const parts = text.split(",");
  const short = parts[0]!.includes("=") ? undefined : parts.shift();
  const named = new Map<string, string>();
  for (const part of parts) {
    const [key = "", value] = part.split("=", 2);
    if (value === undefined) throw malformed(text, `"${part}" is not key=value`);
    named.set(key.trim().toLowerCase(), value.trim());
  }
  const known = ["target", "published", "protocol", "mode", "name"];
  for (const key of named.keys()) {
    if (!known.includes(key)) throw malformed(text, `"${key}" is not one of ${known.join(", ")}`);
  }
  const publishMode = modes(named.get("mode") ?? "ingress");
  const name = named.get("name") ?? "";
  if (short !== undefined) return parseShort(short, text).map((port) => ({ ...port, publishMode, name }));
  const target = named.get("target");
  if (target === undefined) throw malformed(text, "target=PORT is missing");
  const published = named.get("published");
  return [
    PortConfig.create({
      name,
      protocol: protocols(named.get("protocol") ?? "tcp"),
      targetPort: parsePort(target, text),
      publishedPort: published === undefined ? 0 : parsePort(published, text),
      publishMode,
    }),
  ];
}

function parseShort(short: string, text: string): PortConfig[] {
  const [numbers = "", protocol = "tcp", ...more] = short.split("/");
  const sides = numbers.split(":");
  if (more.length > 0 || sides.length > 2) throw malformed(text, "write PUBLISHED:TARGET[/PROTOCOL]");
  const targets = parseRange(sides.at(-1)!, text);
  const published = sides.length === 2 && sides[0] !== "" ? parseRange(sides[0]!, text) : targets.map(() => 0);
  if (published.length !== targets.length) throw malformed(text, "both ranges must be of one length");
  return targets.map((targetPort, i) =>
    PortConfig.create({ protocol: protocols(protocol), targetPort, publishedPort: published[i]! }),
  );
}

function parseRange(range: string, text: string): number[] {
  const [first = "", last = first, ...more] = range.split("-");
  const from = parsePort(first, text);
  const to = parsePort(last, text);
  if (more.length > 0 || to < from) throw malformed(text, `"${range}" is not a range FIRST-LAST`);
  if (to - from >= rangeMax) throw malformed(text, `"${range}" holds more than ${rangeMax} ports`);
  return Array.from({ length: to - from + 1 }, (_, i) => from + i);
}

/** SwarmKit's `--ports`: `name:target[/proto][:published[/proto]]`, published on the host. */
export function parseNamedPort(text: string): PortConfig {
  const [name = "", target, published, ...more] = text.split(":");
  if (target === undefined || more.length > 0) {
    throw malformed(text, "write NAME:TARGET[/PROTOCOL][:PUBLISHED[/PROTOCOL]]");
  }
  const side = (part: string) => {
    const [port = "", protocol = "tcp"] = part.split("/");
    return { port: parsePort(port, text), protocol: protocols(protocol.toLowerCase()) };
  };
  const inner = side(target);
  const outer = published === undefined ? undefined : side(published);
  if (outer && outer.protocol !== inner.protocol) throw malformed(text, "both protocols must be the same");
  return PortConfig.create({
    name,
    protocol: inner.protocol,
    targetPort: inner.port,
    publishedPort: outer?.port ?? 0,
    publishMode: PortConfig_PublishMode.HOST,
  });
}

function parsePort(digits: string, text: string): number {
  const port = /^\d{1,5}$/.test(digits) ? Number(digits) : Number.NaN;
  if (!(port >= 1 && port <= portMax)) throw malformed(text, `"${digits}" is not a port between 1 and ${portMax}`);
  return port;
}

function malformed(text: string, why: string): UsageError {
  return new UsageError(`"${text}" is not a port to publish: ${why}`);
}
