/** Pure: no clock, no I/O, no randomness. */

/** A value for each label name of the instrument. */
export type Labels<L extends string> = Readonly<Record<L, string>>;

/** A metric family in Prometheus' text format, version 0.0.4. */
export interface Instrument {
  readonly name: string;
  readonly labelNames: readonly string[];
  render(): string;
}

/** One value per combination of labels. */
abstract class Family<L extends string> implements Instrument {
  readonly name: string;
  readonly labelNames: readonly L[];
  readonly #help: string;
  readonly #type: string;
  readonly #values = new Map<string, number>();

  constructor(type: string, name: string, help: string, labelNames: readonly L[]) {
    this.#type = type;
    this.name = name;
    this.#help = help;
    this.labelNames = labelNames;
    if (labelNames.length === 0) this.#values.set("", 0);
  }

  render(): string {
    let text = head(this.name, this.#help, this.#type);
    for (const [labels, value] of this.#values) text += `${this.name}${braced(labels)} ${shown(value)}\n`;
    return text;
  }

  protected put(labels: Labels<L> | undefined, value: number): void {
    this.#values.set(labelText(this.labelNames, labels), value);
  }

  protected add(labels: Labels<L> | undefined, value: number): void {
    const key = labelText(this.labelNames, labels);
    this.#values.set(key, (this.#values.get(key) ?? 0) + value);
  }

  protected clear(): void {
    this.#values.clear();
    if (this.labelNames.length === 0) this.#values.set("", 0);
  }
}

/** Only grows. */
export class Counter<L extends string = never> extends Family<L> {
  constructor(name: string, help: string, labelNames: readonly L[]) {
    super("counter", name, help, labelNames);
  }

  /** By one, or by `amount`. */
  inc(labels: Labels<L>, amount?: number): void;
  inc(amount?: number): void;
  inc(first?: Labels<L> | number, amount = 1): void {
    if (typeof first === "object") this.add(first, amount);
    else this.add(undefined, first ?? 1);
  }

  /** Takes over a total that someone else counts. */
  total(value: number): void {
    this.put(undefined, value);
  }
}

/** Goes up and down. */
export class Gauge<L extends string = never> extends Family<L> {
  constructor(name: string, help: string, labelNames: readonly L[]) {
    super("gauge", name, help, labelNames);
  }

  set(labels: Labels<L>, value: number): void;
  set(value: number): void;
  set(first: Labels<L> | number, value = 0): void {
    if (typeof first === "object") this.put(first, value);
    else this.put(undefined, first);
  }

  /** Forgets all values: what is not set again is gone. */
  reset(): void {
    this.clear();
  }
}

/** How many observations were at most as large as each bound. */
export class Histogram implements Instrument {
  readonly name: string;
  readonly labelNames: readonly string[] = [];
  readonly #help: string;
  /** Ascending. */
  readonly #bounds: readonly number[];
  /** Observations by the first bound that holds them; the last one: above all. */
  readonly #counts: number[];
  #sum = 0;

  constructor(name: string, help: string, bounds: readonly number[]) {
    this.name = name;
    this.#help = help;
    this.#bounds = bounds;
    this.#counts = new Array<number>(bounds.length + 1).fill(0);
  }

  observe(value: number): void {
    let at = 0;
    while (at < this.#bounds.length && value > this.#bounds[at]!) at++;
    this.#counts[at]!++;
    this.#sum += value;
  }

  render(): string {
    let text = head(this.name, this.#help, "histogram");
    let below = 0;
    for (const [at, count] of this.#counts.entries()) {
      below += count;
      const bound = this.#bounds[at];
      text += `${this.name}_bucket{le="${bound === undefined ? "+Inf" : bound}"} ${below}\n`;
    }
    return `${text}${this.name}_sum ${shown(this.#sum)}\n${this.name}_count ${below}\n`;
  }
}

function head(name: string, help: string, type: string): string {
  const escaped = help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
  return `# HELP ${name} ${escaped}\n# TYPE ${name} ${type}\n`;
}

function labelText<L extends string>(names: readonly L[], labels: Labels<L> | undefined): string {
  if (labels === undefined) return "";
  return names.map((name) => `${name}="${escapedValue(labels[name])}"`).join(",");
}

function escapedValue(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"');
}

function braced(labels: string): string {
  return labels === "" ? "" : `{${labels}}`;
}

function shown(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (value === Number.POSITIVE_INFINITY) return "+Inf";
  return value === Number.NEGATIVE_INFINITY ? "-Inf" : String(value);
}
