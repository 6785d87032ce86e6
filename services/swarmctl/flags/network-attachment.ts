/** Pure: no clock, no I/O, no randomness. */

import { NetworkAttachmentConfig, parseAddress } from "@starling/api";
import { UsageError } from "../usage-error.ts";
import { splitCommas } from "./values.ts";

/** `NETWORK`, or `name=NETWORK,alias=NAME,ip=ADDRESS,ip6=ADDRESS,driver-opt=k=v`. The target is what the user wrote, not yet an id. */
export function parseNetworkAttachment(text: string): NetworkAttachmentConfig {
  if (!text.includes("=")) return NetworkAttachmentConfig.create({ target: text });
  let target = "";
  const aliases: string[] = [];
  const addresses: string[] = [];
  const driverAttachmentOpts: Record<string, string> = {};
  for (const part of splitCommas(text)) {
    const [key = "", value = "", option = ""] = part.split("=");
    if (key === "name") target = value;
    else if (key === "alias") aliases.push(value);
    else if (key === "ip" || key === "ip6") addresses.push(addressOf(key, value));
    else if (key === "driver-opt") driverAttachmentOpts[value] = option;
    else
      throw new UsageError(`"${text}" is not a network: "${part}" is not one of name=, alias=, ip=, ip6=, driver-opt=`);
  }
  if (target === "") throw new UsageError(`"${text}" is not a network: name=NETWORK is missing`);
  return NetworkAttachmentConfig.create({ target, aliases, addresses, driverAttachmentOpts });
}

function addressOf(key: "ip" | "ip6", text: string): string {
  const [bits, kind, example] = key === "ip" ? [32, "IPv4", "10.1.0.50"] : [128, "IPv6", "fd01::50"];
  if (parseAddress(text)?.bits === bits) return text;
  throw new UsageError(`${key}="${text}" is not an ${kind} address: write it as in ${example}`);
}
