/** Pure: no clock, no I/O, no randomness. */
import {
  ConfigReference,
  type ContainerSpec,
  Privileges,
  Privileges_CredentialSpec,
  RuntimeTarget,
} from "@starling/api";
import { UsageError } from "../usage-error.ts";
import type { Named } from "./lookup.ts";

/** A `--credential-spec`: where a Windows node finds what a container's account is. */
export interface CredentialSpec {
  readonly from: "config" | "file" | "registry";
  readonly value: string;
}

/** `config://NAME`, `file://FILE` or `registry://KEY`. */
export function parseCredentialSpec(text: string): CredentialSpec {
  const match = /^(config|file|registry):\/\/(.+)$/.exec(text);
  if (match) return { from: match[1] as CredentialSpec["from"], value: match[2]! };
  throw new UsageError(`"${text}" is not a credential spec: write config://NAME, file://FILE or registry://KEY`);
}

/** The container with the credential spec; one that is a config is referred to without being a file of the container. */
export function withCredentialSpec(
  base: ContainerSpec,
  given: CredentialSpec | undefined,
  configs: ReadonlyMap<string, Named>,
): ContainerSpec {
  if (given === undefined) return base;
  const config = given.from === "config" ? configs.get(given.value) : undefined;
  const credentialSpec = Privileges_CredentialSpec.create({ [given.from]: config?.id ?? given.value });
  const references = base.configs.filter(({ runtime }) => runtime === undefined);
  if (config !== undefined) {
    const { id, name } = config;
    references.push(ConfigReference.create({ configId: id, configName: name, runtime: RuntimeTarget.create() }));
  }
  return {
    ...base,
    privileges: Privileges.create({ ...base.privileges, credentialSpec }),
    configs: references,
  };
}

/** The config that a credential spec names, to be looked up. */
export function configOf(given: CredentialSpec | undefined): readonly { readonly source: string }[] {
  return given?.from === "config" ? [{ source: given.value }] : [];
}
