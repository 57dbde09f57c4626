import { messageOf, SelvageError } from '../errors.js';
import { formatIpv6, parseIpv6 } from '../ipv6_prefix.js';
import { parseIpv4 } from '../ipv4_prefix.js';
import { describeJson, readGoObject } from './network/go_json.js';
import type { LeaseValue } from './lease.js';

/** Characters that Go's `json.Marshal` escapes beside those of RFC 8259: they could end a script element or a line of one. */
const GO_ESCAPES = /[<>&\u2028\u2029]/g;

/** How Go writes an `ip.IP4` that was never set. */
const NO_IPV4 = '0.0.0.0';

/**
 * The value of a lease, byte for byte as flannel 0.28 writes it: `{"PublicIP":"192.0.2.1","PublicIPv6":null}`, and without
 * IPv4 `{"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::1"}`. `BackendType` is left out when empty, as the udp backend has it;
 * backend data is never written.
 */
export function formatLeaseValue(value: LeaseValue): string {
  const { publicIp = NO_IPV4, publicIpv6 = null, backendType } = value;
  const type = backendType === '' ? {} : { BackendType: backendType };
  const text = JSON.stringify({ PublicIP: publicIp, PublicIPv6: publicIpv6, ...type });
  return text.replace(
    GO_ESCAPES,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/**
 * Reads the value of a lease as Go would: names in any case, unknown ones ignored. Backend data is not looked at. Beside a
 * PublicIPv6, a PublicIP that is missing or all zeros is none.
 *
 * @throws SelvageError ERR_LEASE_VALUE naming the field
 */
export function parseLeaseValue(text: string): LeaseValue {
  try {
    const fields = readGoObject(text, ['PublicIP', 'PublicIPv6', 'BackendType']);
    const backendType = fields.BackendType ?? '';
    if (typeof backendType !== 'string') {
      throw new Error(`BackendType is ${describeJson(backendType)}, not a string`);
    }
    const type = { backendType: backendType.toLowerCase() };
    if (fields.PublicIPv6 === undefined) return { publicIp: readPublicIp(fields.PublicIP), ...type };
    const publicIpv6 = readPublicIpv6(fields.PublicIPv6);
    const publicIp = readPublicIp(fields.PublicIP ?? NO_IPV4);
    return publicIp === NO_IPV4 ? { publicIpv6, ...type } : { publicIp, publicIpv6, ...type };
  } catch (error) {
    throw new SelvageError('ERR_LEASE_VALUE', messageOf(error), { cause: error });
  }
}

function readPublicIp(value: unknown): string {
  if (value === undefined) throw new Error('PublicIP is missing');
  if (typeof value !== 'string') throw new Error(`PublicIP is ${describeJson(value)}, not a string`);
  parseIpv4(value);
  return value;
}

function readPublicIpv6(value: unknown): string {
  if (typeof value !== 'string') throw new Error(`PublicIPv6 is ${describeJson(value)}, not a string`);
  return formatIpv6(parseIpv6(value));
}
