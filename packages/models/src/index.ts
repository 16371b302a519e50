export { ARCHITECTURES, architectureOf } from "./architecture.js";
export {
  recoverFolder,
  verifyFolder,
  WriteError,
  writeFileAtomic,
  writeFolderAtomic,
} from "./atomic-write.js";
export { BatchGenerator } from "./batch-generator.js";
export { CausalLM, IGNORED_LABEL } from "./causal-lm.js";
export { compileChatTemplate } from "./chat-template.js";
export { readConfigJson } from "./config.js";
export { DownloadError, isDownloadError } from "./download-error.js";
export { hostFiles } from "./file-layer.js";
export { FormatError, isFormatError, quoteName } from "./format-error.js";
export { generate } from "./generate.js";
export { openGguf } from "./gguf.js";
export { dequantizeGguf } from "./gguf-dequantize.js";
export { GenerationContext } from "./generation-context.js";
export { GrowingText } from "./growing-text.js";
export { scanJson, toPlain } from "./json-scan.js";
export { LlamaForCausalLM, LlamaLayer, LlamaModel } from "./llama.js";
export { llamaConfigJson, parseLlamaConfig } from "./llama-config.js";
export { MANIFEST_NAME } from "./manifest.js";
export { MistralForCausalLM, parseMistralConfig } from "./mistral.js";
export { perplexity } from "./perplexity.js";
export { fromPretrained, loadTensor, pretrainedFiles, savePretrained, storedTensor } from "./pretrained.js";
export { parseQwen2Config, Qwen2ForCausalLM } from "./qwen2.js";
export { parseQwen3Config, Qwen3ForCausalLM } from "./qwen3.js";
export { checkFileName, checkFilePath } from "./safe-name.js";
export { openCheckpoint, openSafetensors } from "./safetensors.js";
export { encodeSafetensors, safetensorsChunks, writeSafetensors } from "./safetensors-write.js";
export { logProbabilities, randomStream, sampleToken } from "./sampling.js";
export { classifyByContinuation, scoreContinuations } from "./score-continuations.js";
export { scoreTokens } from "./score-tokens.js";
export { slidingWindows } from "./sliding-windows.js";
export { openFolder, openSource, readSmallFile } from "./source.js";
export { chat, chatIds, generateText, promptIds, streamText } from "./stream-text.js";
export { loadTokenizer } from "./tokenizer.js";
export { openUrl, openUrlFolder } from "./url-source.js";

export type { Architecture } from "./architecture.js";
export type { AtomicWriteOptions, FileContent, FolderWriteOptions } from "./atomic-write.js";
export type { BatchGeneratorOptions } from "./batch-generator.js";
export type { BatchRequest } from "./batch-job.js";
export type { CacheOptions, CausalConfig, ForwardOptions, LossOptions } from "./causal-lm.js";
export type { ChatMessage, ChatTemplateOptions, RenderChat } from "./chat-template.js";
export type { ConfigJson } from "./config.js";
export type { DownloadErrorParts } from "./download-error.js";
export type { FileLayer, FileWriter, OnPoint } from "./file-layer.js";
export type { FormatErrorParts } from "./format-error.js";
export type { GgufEntry, GgufFile } from "./gguf.js";
export type { GgufArray, GgufScalarType, GgufTensorType, GgufValue } from "./gguf-types.js";
export type { FetchOptions } from "./http.js";
export type { FinishReason, GeneratedToken, GenerateOptions, TokenLogprob } from "./generate.js";
export type { GenerationContextOptions } from "./generation-context.js";
export type { JsonObject, JsonScanOptions, JsonValue } from "./json-scan.js";
export type { LlamaOptions } from "./llama.js";
export type { LlamaConfig } from "./llama-config.js";
export type { FileRecord, FolderManifest } from "./manifest.js";
export type { PerplexityOptions, PerplexityResult, ScoredBatch } from "./perplexity.js";
export type { PretrainedOptions, SavePretrainedOptions } from "./pretrained.js";
export type { RopeScaling } from "./rope-scaling.js";
export type { SafetensorsEntry, SafetensorsFile, TensorArchive } from "./safetensors.js";
export type { SafetensorsDType, TensorArray } from "./safetensors-dtype.js";
export type { TensorsToWrite, TensorToWrite, WriteSafetensorsOptions } from "./safetensors-write.js";
export type { SamplingOptions } from "./sampling.js";
export type { Classification, ClassifyOptions, Continuation } from "./score-continuations.js";
export type { ContinuationScore, ScoreOptions, TokensToScore } from "./score-tokens.js";
export type { WindowOptions } from "./sliding-windows.js";
export type { ByteInput, ByteSource, Folder, FolderInput } from "./source.js";
export type { ChatOptions, GeneratedText, TextOptions } from "./stream-text.js";
export type { DecodeOptions, EncodeOptions, LoadTokenizerOptions, Tokenizer } from "./tokenizer.js";
export type { UrlOptions } from "./url-source.js";
export type { HostPolicy } from "./web-address.js";
