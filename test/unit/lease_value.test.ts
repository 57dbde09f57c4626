import t from 'tap';

import { formatLeaseValue, parseLeaseValue } from '../../src/lease/lease_value.js';

t.test('a value is written byte for byte as flanneld writes it', (t) => {
  const publicIp = '192.0.2.1';
  t.equal(
    formatLeaseValue({ publicIp, backendType: '' }),
    '{"PublicIP":"192.0.2.1","PublicIPv6":null}',
    'as its udp backend does',
  );
  t.equal(
    formatLeaseValue({ publicIp, publicIpv6: '2001:db8::1', backendType: 'vxlan' }),
    '{"PublicIP":"192.0.2.1","PublicIPv6":"2001:db8::1","BackendType":"vxlan"}',
  );
  t.equal(
    formatLeaseValue({ publicIp, backendType: '<a&b>\u2028\u2029"' }),
    '{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"\\u003ca\\u0026b\\u003e\\u2028\\u2029\\""}',
    "with the escapes of Go's json.Marshal",
  );
  t.equal(
    formatLeaseValue({ publicIpv6: '2001:db8::1', backendType: '' }),
    '{"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::1"}',
    'IPv6 alone: Go writes the zero of its type',
  );
  t.end();
});

t.test('a value is read as Go reads it', (t) => {
  const publicIp = '192.0.2.1';
  const rows: [text: string, expected: unknown][] = [
    ['{"PublicIP":"192.0.2.1","PublicIPv6":null}', { publicIp, backendType: '' }],
    ['{"PublicIP":"192.0.2.1"}', { publicIp, backendType: '' }],
    [' {"publicip":"192.0.2.1","BACKENDTYPE":"VXLAN"}\n', { publicIp, backendType: 'vxlan' }],
    ['{"PublicIP":"198.51.100.9","publicIp":"192.0.2.1"}', { publicIp, backendType: '' }],
    ['{"PublicIP":"192.0.2.1","publicip":null,"BackendType":null}', { publicIp, backendType: '' }],
    [
      '{"PublicIP":"192.0.2.1","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"00:00:5e:00:53:01"}}',
      { publicIp, backendType: 'vxlan' },
    ],
    [
      '{"PublicIP":"192.0.2.1","PublicIPv6":"2001:DB8:0::1","Other":[1]}',
      { publicIp, publicIpv6: '2001:db8::1', backendType: '' },
    ],
    ['{"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::1"}', { publicIpv6: '2001:db8::1', backendType: '' }],
    ['{"PublicIPv6":"2001:db8::1"}', { publicIpv6: '2001:db8::1', backendType: '' }],
    ['{"PublicIP":"0.0.0.0"}', { publicIp: '0.0.0.0', backendType: '' }],
  ];
  for (const [text, expected] of rows) t.strictSame(parseLeaseValue(text), expected, text);
  t.end();
});

t.test('what is written is read back', (t) => {
  for (const value of [
    { publicIp: '192.0.2.1', backendType: '' },
    { publicIp: '192.0.2.1', publicIpv6: '2001:db8::1', backendType: 'host-gw' },
    { publicIpv6: '2001:db8::1', backendType: '' },
  ]) {
    t.strictSame(parseLeaseValue(formatLeaseValue(value)), value);
  }
  t.end();
});

t.test('a value that does not decode says which field is wrong', (t) => {
  const rows: [text: string, message: RegExp][] = [
    ['', /^not valid JSON at line 1, column /],
    ['{"PublicIP":', /^not valid JSON at line 1, column /],
    ['[]', /^an array is not a JSON object$/],
    ['"192.0.2.1"', /^"192.0.2.1" is not a JSON object$/],
    ['null', /^PublicIP is missing$/],
    ['{}', /^PublicIP is missing$/],
    ['{"PublicIP":null}', /^PublicIP is missing$/],
    ['{"PublicIP":""}', /"" is not an IPv4 address/],
    ['{"PublicIP":3221225985}', /^PublicIP is 3221225985, not a string$/],
    ['{"PublicIP":"2001:db8::1"}', /"2001:db8::1" is not an IPv4 address/],
    ['{"PublicIP":"192.0.2.01"}', /01 has a leading zero/],
    ['{"PublicIP":"192.0.2.1","PublicIPv6":""}', /"" is not an IPv6 address/],
    ['{"PublicIP":"192.0.2.1","PublicIPv6":6}', /^PublicIPv6 is 6, not a string$/],
    ['{"PublicIP":"192.0.2.1","BackendType":["udp"]}', /^BackendType is an array, not a string$/],
  ];
  for (const [text, message] of rows) {
    t.throws(() => parseLeaseValue(text), { code: 'ERR_LEASE_VALUE', message }, text);
  }
  t.throws(() => parseLeaseValue(`"${'x'.repeat(1_000_000)}"`), { message: /^.{1,200}$/ });
  t.throws(() => parseLeaseValue('x'.repeat(1_000_000)), { message: /^.{1,200}$/ });
  t.end();
});
