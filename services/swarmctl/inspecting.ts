import type { MessageCodec } from "@starling/api";
import { type Command, type FlagDefinition, formatFlag } from "./command.ts";
import type { Context } from "./context.ts";
import { formatJson, messageToJson } from "./format/json.ts";
import { wantsJson } from "./format/list.ts";

const inspectFlags: readonly FlagDefinition[] = [
  { flags: "--pretty", help: "Readable text instead of JSON" },
  { ...formatFlag, help: "json (default)" },
];

interface InspectFlags {
  readonly pretty?: boolean;
  readonly format?: string;
}

/**
 * `inspect` of a noun: JSON, one object for one argument, a list for several; with `--pretty` the noun's own text.
 * Every argument is looked up before anything is printed.
 */
export function inspecting<T extends object, F extends InspectFlags = InspectFlags>(noun: {
  readonly argument: string;
  readonly codec: MessageCodec<T>;
  readonly flags?: readonly FlagDefinition[];
  find(context: Context, reference: string): Promise<T>;
  pretty(object: T, context: Context, flags: F): string | Promise<string>;
}): Command<F> {
  return {
    arguments: noun.argument,
    flags: [...inspectFlags, ...(noun.flags ?? [])],
    async run(context, args, flags) {
      wantsJson({ format: flags.format ?? "json" });
      const objects = await Promise.all(args.map((reference) => noun.find(context, reference)));
      if (flags.pretty) {
        for (const object of objects) context.out(await noun.pretty(object, context, flags));
        return;
      }
      const json = objects.map((object) => messageToJson(noun.codec, object));
      context.out(formatJson(json.length === 1 ? json[0] : json));
    },
  };
}
