// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @notice An adapter of an agent version.
/// @param id The adapter.
/// @param version Its version.
/// @param sharePpm Its part of the adapters' class in millionths.
/// @param scalePpm The weight it is applied with in millionths.
struct ComposedAdapter {
    uint32 id;
    uint32 version;
    uint32 sharePpm;
    uint32 scalePpm;
}

/// @notice A prompt, DataNet or tool of an agent version; id 0 is none.
struct Pinned {
    uint32 id;
    uint32 version;
}

/// @notice A decoded agent version.
/// @param baseModel Hash of the base model.
/// @param perJob Price of a job in wei of OPEN.
/// @param perPromptToken Price of a prompt token in wei of OPEN.
/// @param perCompletionToken Price of a completion token in wei of OPEN.
/// @param split Operator, publisher, adapters, prompt, context, training, tools in millionths.
/// @param emptyTo Where the empty context, training and tool pool goes: 0 pro rata, 1 publisher, 2 adapters, 3 prompt.
/// @param contextMeasure What feeds the context pool: 0 leave-one-out, 1 verbatim.
/// @param trainingMeasure What feeds the training pool: 0 influence, 1 verbatim.
struct Composition {
    bytes32 baseModel;
    uint96 perJob;
    uint64 perPromptToken;
    uint64 perCompletionToken;
    uint32[7] split;
    uint8[3] emptyTo;
    uint8 contextMeasure;
    uint8 trainingMeasure;
    Pinned prompt;
    ComposedAdapter[] adapters;
    Pinned[] dataNets;
    Pinned[] tools;
}
