// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @notice The first rule of protocol.md §8 that a receipt breaks, with the codes of that page.
enum Verdict {
    Valid,
    MissingReceipt,
    OversizedBody,
    FinalStateMismatch,
    LengthMismatch,
    MalformedBody,
    UnknownChannel,
    BadSignature,
    UnknownAgentVersion,
    VoucherTooLong,
    VoucherExpired,
    NonceUsed,
    PriceAboveMaximum,
    WrongPrice,
    CapExceeded,
    DepositExceeded,
    AttributionUnsorted,
    AttributionSum,
    AttributionForeign,
    AttributionNotAccepted,
    TooManyEarners,
    Overflow,
    WrongState
}
