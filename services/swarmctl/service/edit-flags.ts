import type { ContainerSpec_Ulimit, GenericResource, Mount, NetworkAttachmentConfig, PortConfig } from "@starling/api";
import { parseGenericResources } from "@starling/api";
import type { FlagDefinition } from "../command.ts";
import { type FileReference, parseFileReference } from "../flags/file-reference.ts";
import { parseMount } from "../flags/mount.ts";
import { parseNetworkAttachment } from "../flags/network-attachment.ts";
import { parsePublish } from "../flags/port.ts";
import { parseUlimit } from "../flags/ulimit.ts";

/** Flags of `service update` that add to and remove from lists. */
export interface EditFlags {
  readonly labelAdd?: readonly string[];
  readonly labelRm?: readonly string[];
  readonly containerLabelAdd?: readonly string[];
  readonly containerLabelRm?: readonly string[];
  readonly envAdd?: readonly string[];
  readonly envRm?: readonly string[];
  readonly groupAdd?: readonly string[];
  readonly groupRm?: readonly string[];
  readonly mountAdd?: readonly Mount[];
  readonly mountRm?: readonly string[];
  readonly secretAdd?: readonly FileReference[];
  readonly secretRm?: readonly string[];
  readonly addSecret?: readonly FileReference[];
  readonly rmSecret?: readonly string[];
  readonly configAdd?: readonly FileReference[];
  readonly configRm?: readonly string[];
  readonly addConfig?: readonly FileReference[];
  readonly rmConfig?: readonly string[];
  readonly addCapability?: readonly string[];
  readonly rmCapability?: readonly string[];
  readonly hostAdd?: readonly string[];
  readonly hostRm?: readonly string[];
  readonly dnsAdd?: readonly string[];
  readonly dnsRm?: readonly string[];
  readonly dnsSearchAdd?: readonly string[];
  readonly dnsSearchRm?: readonly string[];
  readonly dnsOptionAdd?: readonly string[];
  readonly dnsOptionRm?: readonly string[];
  readonly sysctlAdd?: readonly string[];
  readonly sysctlRm?: readonly string[];
  readonly ulimitAdd?: readonly ContainerSpec_Ulimit[];
  readonly ulimitRm?: readonly string[];
  readonly constraintAdd?: readonly string[];
  readonly constraintRm?: readonly string[];
  readonly placementPrefAdd?: readonly string[];
  readonly placementPrefRm?: readonly string[];
  readonly genericResourceAdd?: readonly GenericResource[];
  readonly genericResourceRm?: readonly string[];
  readonly networkAdd?: readonly NetworkAttachmentConfig[];
  readonly networkRm?: readonly string[];
  readonly publishAdd?: readonly PortConfig[];
  readonly publishRm?: readonly PortConfig[];
  readonly force?: boolean;
}

interface Editable {
  readonly name: string;
  readonly value: string;
  readonly removed: string;
  readonly parse?: (text: string) => unknown;
  readonly parseRemoved?: (text: string) => unknown;
}

const editables: readonly Editable[] = [
  { name: "label", value: "key=value", removed: "key" },
  { name: "container-label", value: "key=value", removed: "key" },
  { name: "env", value: "name=value", removed: "name" },
  { name: "group", value: "group", removed: "group" },
  { name: "mount", value: "options", removed: "target", parse: parseMount },
  { name: "secret", value: "name[:target]", removed: "name", parse: parseFileReference },
  { name: "config", value: "name[:target]", removed: "name", parse: parseFileReference },
  { name: "host", value: "name:address", removed: "name:address" },
  { name: "dns", value: "address", removed: "address" },
  { name: "dns-search", value: "domain", removed: "domain" },
  { name: "dns-option", value: "option", removed: "option" },
  { name: "device", value: "source[:target[:rwm]]", removed: "source" },
  { name: "sysctl", value: "name=value", removed: "name" },
  { name: "ulimit", value: "name=soft[:hard]", removed: "name", parse: parseUlimit },
  { name: "constraint", value: "expression", removed: "expression" },
  { name: "placement-pref", value: "spread", removed: "spread" },
  {
    name: "generic-resource",
    value: "kind=count",
    removed: "kind",
    parse: (text) => parseGenericResources(text.split(",")),
  },
  { name: "network", value: "network", removed: "network", parse: parseNetworkAttachment },
  { name: "publish", value: "port", removed: "target", parse: parsePublish, parseRemoved: parsePublish },
];

const swarmKitEdits: readonly FlagDefinition[] = [
  { flags: "--add-capability <capability>", help: "Add a capability", list: true, hidden: true },
  { flags: "--rm-capability <capability>", help: "Remove a capability", list: true, hidden: true },
  { flags: "--add-secret <name[:target]>", help: "Add a secret", parse: parseFileReference, list: true, hidden: true },
  { flags: "--rm-secret <name>", help: "Remove a secret", list: true, hidden: true },
  { flags: "--add-config <name[:target]>", help: "Add a config", parse: parseFileReference, list: true, hidden: true },
  { flags: "--rm-config <name>", help: "Remove a config", list: true, hidden: true },
];

export const editFlags: readonly FlagDefinition[] = [
  ...editables.flatMap(({ name, value, removed, parse, parseRemoved }): FlagDefinition[] => [
    { flags: `--${name}-add <${value}>`, help: `Add: ${value}`, list: true, ...(parse && { parse }) },
    {
      flags: `--${name}-rm <${removed}>`,
      help: `Remove by ${removed}`,
      list: true,
      ...(parseRemoved && { parse: parseRemoved }),
    },
  ]),
  ...swarmKitEdits,
  { flags: "--force", help: "Replace the tasks even if nothing changed" },
];
