import { NONCE_WINDOW } from "./bounds.ts";

/** Which nonces of a channel are used: bit *k* of `bitmap` stands for nonce `top - k`. */
export interface NonceWindow {
  top: bigint;
  bitmap: bigint;
}

const WINDOW_MASK = (1n << NONCE_WINDOW) - 1n;

/** Whether a nonce may still be used: above `top`, or inside the window and not used. */
export function nonceIsFree(window: NonceWindow, nonce: bigint): boolean {
  if (nonce > window.top) return true;
  const age = window.top - nonce;
  return age < NONCE_WINDOW && ((window.bitmap >> age) & 1n) === 0n;
}

/** The window once a free nonce is used (IPsec's anti-replay window, RFC 4303 §3.4.3, over 256 nonces). */
export function useNonce(window: NonceWindow, nonce: bigint): NonceWindow {
  if (nonce <= window.top) return { top: window.top, bitmap: window.bitmap | (1n << (window.top - nonce)) };
  const shift = nonce - window.top;
  // A nonce far ahead must not build a number of that many bits.
  const kept = shift >= NONCE_WINDOW ? 0n : (window.bitmap << shift) & WINDOW_MASK;
  return { top: nonce, bitmap: kept | 1n };
}
