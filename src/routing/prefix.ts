// The value itself lives below both routing and lease, which do not import each other.
export * from '../prefix.js';
