"""`lowbit.compare`, `lowbit.quantize` and `lowbit.profile`: the Python API, which the command line calls too."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lowbit.core.figures import Optimize
from lowbit.core.profile import Profile
from lowbit.core.settings import Among, Round, Scenario
from lowbit.data.preprocess import parse
from lowbit.quant.plan.plan import RangeMethod, Rounding
from lowbit.study.compare import compare as run_study
from lowbit.study.execute.local import Listener
from lowbit.study.profiling import ProfileRequest
from lowbit.study.profiling import profile as run_profile
from lowbit.study.quantize import Quantized
from lowbit.study.quantize import quantize as run_quantize
from lowbit.study.request import compare_request, quantize_request
from lowbit.study.result import StudyResult


def compare(
    model: str | Path,
    data: str | Path,
    *,
    preprocess: str | Path | None = None,
    input_size: str | int | None = None,
    weights: str | Path | None = None,
    trust: bool = False,
    download: bool = False,
    labels: str | Path | None = None,
    among: Among = "model",
    threshold: float | None = None,
    calibration_samples: int = 512,
    seed: int = 0,
    limit: int | None = None,
    toolchains: Sequence[str] = (),
    recipes: Sequence[str] = (),
    bits: Sequence[int] = (),
    epochs: int | None = None,
    train_samples: int | None = None,
    given: str | Path | Sequence[str | Path] = (),
    runtimes: Sequence[str] = (),
    scenario: Scenario | Sequence[Scenario] = "single-stream",
    threads: int | Sequence[int] = 1,
    batch_size: int | Sequence[int] | None = None,
    isa: str | Sequence[str] = (),
    min_duration: float = 2.0,
    rounds: int = 3,
    official: bool = False,
    rules: Round = "v6.1",
    target_latency: float | None = None,
    target_qps: float | None = None,
    timing: bool = True,
    profile: bool = False,
    budget: str | float | None = None,
    optimize: Optimize = "latency",
    max_drop: float = 1.0,
    min_agreement: float = 90.0,
    time_limit: float = 3600.0,
    out: str | Path | None = None,
    progress: Listener = lambda _: None,
) -> StudyResult:
    """Make every quantized version of `model` that installed toolchains can make; measure each on every runtime.

    Jobs that an earlier call finished in `out` are not repeated. Raises BadInput for what the caller must change;
    whatever else goes wrong is a row with its reason.

    - model: x.onnx, x.tflite, x.keras, x.h5, the folder of a SavedModel, x.pt2 (torch.export), x.pt (TorchScript),
      digits-cnn, file.py:name, package.module:name, torchvision:NAME, keras:NAME, timm:NAME, hf:ORG/NAME, or a folder
      with Hugging Face's or timm's config.json
    - data: digits, a folder with one folder per class, a parquet file or folder, or an .npz file
    - preprocess: a preset's name or a YAML file; None: the model's own, where it has one
    - input_size: (height and width) as "224x192", or 224 for a square, of a model that leaves them free
    - weights: a file of weights for a model in Python code, or a network of torchvision, timm or Keras
    - trust: whether code that a model file brings along may run (Keras' Lambda layers, layers of one's own)
    - download: whether hf:ORG/NAME may be fetched from the network; otherwise it is read from the cache on this disk
    - labels: a file that maps the data's classes to the model's outputs
    - among: whether a prediction is the argmax over the outputs of the "model" or over the classes of the "data"
    - threshold: of a model with one output for two classes; None: 0.5 for a probability, 0 for a logit
    - calibration_samples: how many images to calibrate with
    - seed: of every random order
    - limit: how many images to evaluate; None: all
    - toolchains, runtimes: names; empty: all that are installed
    - recipes: names; empty: all of these toolchains that are not made on request only
    - bits: widths N of weights for which lowbit's own recipe wNa8 is added
    - epochs: make recipes that train too, each beside its control: our own engine's (w4a4-qat …) pass so often over the
      training images, without labels, TensorFlow's (int8-qat) over the labelled calibration images
    - train_samples: how many images our own engine trains on, the held-out ones included; None: all, up to 50,000
    - given: files that somebody else made of the model, .onnx, .xml (OpenVINO IR) or .tflite, quantized or float; each
      is measured in every runtime that reads it, in rows named given/STEM
    - scenario: MLPerf LoadGen's scenario. This and the next three take one value or a list: a sweep, whose rows are
      told apart by what is swept; speed-ups stay within the same settings, the winner comes from the first ones
    - threads: of one session
    - batch_size: largest number of images per call; None: 8 multi-stream, 32 offline, 1 otherwise. With several
      scenarios it is that of offline.
    - isa: instruction sets that the runtimes are limited to, of avx2, avx512 and avx512_vnni; empty: no limit
    - min_duration: shortest duration of a timed run, in seconds
    - rounds: how many rounds of timing
    - official: whether to use the durations and query counts of the round `rules`
    - rules: the round of MLPerf Inference whose rules results are held against, "v6.1" or "v2.1"
    - target_latency: in the server scenario, milliseconds that 99 % of the latencies must stay within; None: 15
    - target_qps: in the server scenario, queries per second; None: LoadGen searches for the highest valid rate
    - timing: False: neither speed nor memory is measured
    - profile: whether each timed version is profiled too: the page shows where its time goes, layer by layer, and how
      near it comes to this machine's fastest matrix product
    - budget: time in which the whole study is to end, as "20m", "2h" or seconds: rounds become fewer and runs shorter
      than asked for, which the table says; builds and accuracy passes stay as they are
    - optimize: what the chosen version should have least of
    - max_drop: percentage points of top-1 accuracy that the chosen version may lose
    - min_agreement: percent of images on which it must predict the float model's class, if any version does
    - time_limit: seconds that each child process may take
    - out: the study's folder; None: one in the current folder, named after model and data
    - progress: called with a `Progress` at every start and end of a job
    """
    request = compare_request(
        model,
        data,
        preprocess=preprocess,
        input_size=input_size,
        weights=weights,
        trust=trust,
        download=download,
        labels=labels,
        among=among,
        threshold=threshold,
        calibration_samples=calibration_samples,
        seed=seed,
        limit=limit,
        toolchains=toolchains,
        recipes=recipes,
        bits=bits,
        epochs=epochs,
        train_samples=train_samples,
        given=given,
        runtimes=runtimes,
        scenario=scenario,
        threads=threads,
        batch_size=batch_size,
        isa=isa,
        min_duration=min_duration,
        rounds=rounds,
        official=official,
        rules=rules,
        target_latency=target_latency,
        target_qps=target_qps,
        timing=timing,
        profile=profile,
        budget=budget,
        optimize=optimize,
        max_drop=max_drop,
        min_agreement=min_agreement,
        time_limit=time_limit,
        out=out,
        listener=progress,
    )
    return run_study(request, progress)


def quantize(
    model: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    recipe: str | None = None,
    preprocess: str | Path | None = None,
    input_size: str | int | None = None,
    weights: str | Path | None = None,
    trust: bool = False,
    download: bool = False,
    rounding: Rounding | None = None,
    range: RangeMethod | None = None,  # noqa: A002 - the command line's word
    symmetric: bool | None = None,
    group_size: int | None = None,
    reduce_range: bool | None = None,
    ends: int | None = None,
    layers: Mapping[str, str] | None = None,
    plan: str | Path | None = None,
    calibration_samples: int = 1024,
    seed: int = 0,
    threads: int | None = None,
    time_limit: float = 3600.0,
    cache: str | Path | None = None,
    epochs: int | None = None,
    label_loss: float | None = None,
    train_samples: int | None = None,
    budget: str | float | None = None,
    max_memory: str | int | None = None,
    labels: str | Path | None = None,
    progress: Listener = lambda _: None,
) -> Quantized:
    """Quantize `model` with lowbit's own engine into the file `out`: .onnx, .xml (OpenVINO IR) or .tflite.

    The plan and the manifest are written beside `out`. Raises BadInput for what the caller must change. For the options
    of quantization, None leaves the choice to the engine.

    - model, data, preprocess, input_size, weights, trust, download: as for `compare`; labels are not needed
    - recipe: weights of N bits and activations of M bits, as wNaM (w8a8, w4a8, w2a4 …)
    - rounding: how weights are rounded
    - range: how activation ranges are chosen from calibration
    - symmetric: whether weights are quantized symmetrically, with zero point 0
    - group_size: inputs of a matrix product that share a scale, for each output; None: one scale per output channel
    - reduce_range: whether 8-bit weights use only 7 bits of their range
    - ends: width of the first and last layers, where the others have fewer bits
    - layers: widths by the layer's name, such as {"Conv_1*": "w8a8"}
    - plan: a plan to carry out instead of recipe and options, which a dry run or an earlier call wrote
    - calibration_samples: how many images to calibrate with
    - seed: of every random choice
    - threads: None: all cores
    - time_limit: seconds that each child process may take
    - cache: a folder that keeps samples, float graph and result for the next call
    - epochs: passes over the training images, after the closed form and from its codes; the float network is the
      teacher. None: no training.
    - label_loss: weight of the labels' cross-entropy beside the distance to the float network; None: no label is read
    - train_samples: how many images to train on, the held-out ones included; None: all there are, up to 50,000
    - budget: seconds, or "20m", after which training ends
    - max_memory: bytes, or "4GB", that the training process may take; None: what the machine has free
    - labels: a file that maps the data's classes to the model's outputs, where labels are read
    - progress: called with a `Progress` as the work proceeds
    """
    request = quantize_request(
        model,
        data,
        out,
        recipe=recipe,
        preprocess=preprocess,
        input_size=input_size,
        weights=weights,
        trust=trust,
        download=download,
        rounding=rounding,
        range=range,
        symmetric=symmetric,
        group_size=group_size,
        reduce_range=reduce_range,
        ends=ends,
        layers=layers,
        plan=plan,
        calibration_samples=calibration_samples,
        seed=seed,
        threads=threads,
        time_limit=time_limit,
        cache=cache,
        epochs=epochs,
        label_loss=label_loss,
        train_samples=train_samples,
        budget=budget,
        max_memory=max_memory,
        labels=labels,
        listener=progress,
    )
    return run_quantize(request, progress)


def profile(
    *artifacts: str | Path,
    data: str | Path,
    runtimes: Sequence[str] = (),
    preprocess: str | Path | None = None,
    model: str | Path | None = None,
    trust: bool = False,
    threads: int = 1,
    batch_size: int | None = None,
    runs: int = 50,
    time_limit: float = 3600.0,
    progress: Listener = lambda _: None,
) -> tuple[Profile, ...]:
    """Where the time and the memory of one artifact go, or of two; a `Profile` for each, in the same order.

    The times are from each runtime's own profiler. Raises BadInput for what the caller must change, and where a
    runtime has no profiler.

    - artifacts: files, or folders of a study's artifacts
    - data: pictures, as for `compare`; no labels are read
    - runtimes: one name for all artifacts, or one for each; empty: the one that each was made for
    - preprocess: as for `compare`; None: as the artifact's manifest says
    - model: the float model, with whose layers the operators are matched; None: the one in the artifact's study, if any
    - trust: whether code that the float model's file brings along may run
    - threads: of each session
    - batch_size: images in a run; None: the file's own, or 1
    - runs: how many runs are timed, 50 or more
    - time_limit: seconds that each child process may take
    - progress: called with a `Progress` as the work proceeds
    """
    request = ProfileRequest(
        artifacts=tuple(map(Path, artifacts)),
        data=str(data),
        runtimes=tuple(runtimes),
        preprocess=None if preprocess is None else parse(str(preprocess)),
        model=None if model is None else str(model),
        trust=trust,
        threads=threads,
        batch_size=batch_size,
        runs=runs,
        time_limit_s=time_limit,
    )
    return run_profile(request, progress)
