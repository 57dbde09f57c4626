/** The part of buffer-layout 1.2 that describes our wire formats; the package carries no types of its own. */
declare module 'buffer-layout' {
  /** One field; `T` is what it decodes to. */
  export interface Layout<T> {
    /** Bytes the field takes. */
    readonly span: number;
    readonly property?: string;
    /** @throws RangeError when `offset + span` lies beyond `bytes` */
    decode(bytes: Buffer, offset?: number): T;
    /** @returns bytes written */
    encode(value: T, bytes: Buffer, offset?: number): number;
  }

  export interface Structure<T> extends Layout<T> {
    /** @returns bytes from the structure's start to the field, or undefined for a name it does not have */
    offsetOf(property: keyof T & string): number | undefined;
  }

  export function u8(property: string): Layout<number>;
  /** Little-endian. */
  export function u16(property: string): Layout<number>;
  export function u16be(property: string): Layout<number>;
  export function u32be(property: string): Layout<number>;
  export function s32be(property: string): Layout<number>;
  export function struct<T>(fields: readonly Layout<number>[], property?: string): Structure<T>;
}
