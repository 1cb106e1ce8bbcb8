"""The facts about each real data set: columns, size, hash, locations, drifts."""

from __future__ import annotations

import re

from streams.circulating import CIRCULATING, KDD99
from streams.source import Source

__all__ = ["SOURCES", "Source", "source_named"]


def source_named(name: str) -> Source:
    """Return the source of this name, or raise ValueError."""
    if name not in SOURCES:
        raise ValueError(f"unknown real stream {name!r}; available: {', '.join(sorted(SOURCES))}")
    return SOURCES[name]


_DROPBOX = "https://www.dropbox.com/scl/fi/"
_DRIVE = "https://drive.google.com/uc?export=download&confirm=t&id="
_MOA = "https://downloads.sourceforge.net/project/moa-datastream/Datasets/Classification/"


_UCI = "CC BY 4.0"
_HARRIES = (
    "M. Harries (1999). Splice-2 comparative evaluation: electricity pricing. University of New South Wales."
)


def _insects(
    change: str,
    n_samples: int,
    n_bytes: int | None = None,
    drive_id: str = "",
    drifts: tuple[int, ...] = (),
    parquet_sha256: str | None = None,
    n_classes: int = 6,
) -> Source:
    published = re.sub("_(abrupt|reoccurring)", r"-\1", change)
    return Source(
        file=f"{change}.csv",
        description="Flying insects passing an optical sensor, told apart by 33 numbers of their wing beat: "
        f"species and sex, while the temperature changes ({change.replace('_', ', ')}; Souza et al. 2020).",
        n_samples=n_samples,
        n_features=33,
        header=False,
        urls=(_DRIVE + drive_id,) if drive_id else (),
        n_bytes=n_bytes,
        n_classes=n_classes,
        parquet_sha256=parquet_sha256,
        drifts=drifts,
        others=(f"INSECTS-{published}_norm.arff", f"INSECTS-{published}.arff"),
        citation="V. Souza, D. dos Reis, A. Maletzke, G. Batista (2020). Challenges in benchmarking stream learning "
        "algorithms with real-world data. Data Mining and Knowledge Discovery 34.",
    )


SOURCES: dict[str, Source] = {
    "electricity": Source(
        file="elec.csv",
        description="Half-hours of the New South Wales electricity market: does the price rise (1) or fall "
        "(0) against its mean of the last day? Six normalised numeric features, without date and day.",
        n_samples=45_312,
        n_features=6,
        target="target",
        classes=(0, 1),
        sha256="ebdfe5480ae25a43a7d054286135e3a9484697a2850d5158a333b1578c28bb97",
        citation=_HARRIES,
    ),
    "weather": Source(
        file="weather.csv",
        description="Days at a weather station in Nebraska, 1949 to 1999: did it rain (1) or not (0)? Eight "
        "numeric measurements.",
        n_samples=18_159,
        n_features=8,
        target="target",
        classes=(0, 1),
        sha256="3c38f05bdc5c4cb115f122414c66976e3662c875d96d7199d9e47fc46aff150e",
        citation="R. Elwell, R. Polikar (2011). Incremental learning of concept drift in nonstationary environments. "
        "IEEE Transactions on Neural Networks 22.",
    ),
    "covtype": Source(
        file="covtype.csv",
        description="Cells of 30 by 30 metres in Colorado: which of seven forest cover types grows there? "
        "Ten numeric features and 44 flags.",
        n_samples=581_012,
        n_features=54,
        target="Cover_Type",
        classes=tuple(range(1, 8)),
        sha256="ea35ca6820fcbe0bdc6707e9ed31e11a9de84f07d88da73b511c737383c271a6",
        parquet_sha256="86dd24d9b2b9eeb125dcf2ddbc1d8d18731ac2c6290ea02c3ed0450edb1b4acd",
        licence=_UCI,
        citation="J. Blackard, D. Dean (1999). Comparative accuracies of artificial neural networks and discriminant "
        "analysis in predicting forest cover types from cartographic variables. Computers and Electronics in "
        "Agriculture 24.",
    ),
    "elec2": Source(
        file="elecNormNew.arff",
        description="Half-hours of the New South Wales electricity market: does the price go UP or DOWN "
        "against its mean of the last day? Seven normalised numbers, one of them the date, and the nominal "
        "day.",
        n_samples=45_312,
        n_features=8,
        target="class",
        urls=(
            _DROPBOX
            + "p7btran9xdas20neva917/electricity.arff.gz?rlkey=xt8hc6542b8wr01eitcw7mwpz&st=paqojdax&dl=1",
            _MOA + "elecNormNew.arff.zip",
        ),
        sha256="2d86fbc74c69a5c04bcde0119bce280dd6d8efa0115987edc75b77ccf024d7f2",
        citation=_HARRIES,
    ),
    "airlines": Source(
        file="airlines.arff",
        description="Flights within the United States: does it arrive late (1) or not (0)? Airline, airports "
        "and weekday are nominal; flight number, time and length are numbers.",
        n_samples=539_383,
        n_features=7,
        n_classes=2,
        urls=(
            _DROPBOX
            + "eqd4umtf2zfnpnxhih6g2/airlines.arff.gz?rlkey=llyu3ykwgwoy8u71y96nspoh4&st=e52abisn&dl=1",
            _MOA + "airlines.arff.zip",
            "https://www.openml.org/data/download/66526/phpvcoG8S",
        ),
        citation="E. Ikonomovska, J. Gama, S. Dzeroski (2011). Learning model trees from evolving data streams. Data "
        "Mining and Knowledge Discovery 23.",
    ),
    # Positions of abrupt changes as published (Souza et al. 2020, table 2); a gradual change has no published width.
    "insects_abrupt_balanced": _insects(
        "abrupt_balanced",
        52_848,
        14_151_769,
        "1WQoIuuVgiuXfzv4kvao6XuLQG37V923O",
        drifts=(14_352, 19_500, 33_240, 38_682, 39_510),
    ),
    "insects_abrupt_imbalanced": _insects(
        "abrupt_imbalanced",
        355_275,
        94_893_622,
        "1Z9W2_mwawobXeTihZDTDnFOCtfdgmgDa",
        drifts=(83_859, 128_651, 182_320, 242_883, 268_380),
    ),
    "insects_gradual_balanced": _insects(
        "gradual_balanced",
        24_150,
        6_474_831,
        "1fepYkDxwMbuoRUaG_fsymSzkuapS4vJp",
        parquet_sha256="2e34852849c8fd9faa26041aec8db6766569933e7add6a6e26ec748c28aae3ec",
    ),
    "insects_gradual_imbalanced": _insects(
        "gradual_imbalanced", 143_323, 38_339_554, "1_WJ7lxK2sx1i6kq9Nqv4KrjT0ZXB0QbC"
    ),
    "insects_incremental_abrupt_balanced": _insects(
        "incremental_abrupt_balanced",
        79_986,
        21_421_452,
        "1-J5WIBN8_F_tomdcrOaiLCxk9nzxtFsf",
        drifts=(26_568, 53_364),
    ),
    "insects_incremental_reoccurring_balanced": _insects(
        "incremental_reoccurring_balanced",
        79_986,
        21_433_047,
        "1mSKTSsxzYMjdV005AJqrcMGajuu7dUfW",
        drifts=(26_568, 53_364),
    ),
    "insects_incremental_balanced": _insects(
        "incremental_balanced", 57_018, 15_258_997, "1tKQ2KL4m-ACHCVKUDLFPrM4cyhioiOpu"
    ),
    # Of these four the place of publication is known for the whole collection only.
    "insects_incremental_imbalanced": _insects("incremental_imbalanced", 452_044),
    "insects_incremental_abrupt_imbalanced": _insects(
        "incremental_abrupt_imbalanced", 452_044, drifts=(150_683, 301_365)
    ),
    "insects_incremental_reoccurring_imbalanced": _insects(
        "incremental_reoccurring_imbalanced", 452_044, drifts=(150_683, 301_365)
    ),
    "insects_out_of_control": _insects("out-of-control", 905_145, n_classes=24),
    "keystroke": Source(
        file="DSL-StrongPasswordData.csv",
        description="Typings of one password by 51 people: who typed it? 31 times, in seconds, that keys "
        "were held or lay apart (Killourhy and Maxion 2009).",
        n_samples=20_400,
        n_features=31,
        target="subject",
        drop=("sessionIndex", "rep"),
        urls=("https://www.cs.cmu.edu/~keystroke/DSL-StrongPasswordData.csv",),
        n_bytes=4_669_935,
        citation="K. Killourhy, R. Maxion (2009). Comparing anomaly-detection algorithms for keystroke dynamics. DSN.",
    ),
    "kdd99": Source(
        file="KDDCup99.arff",
        description="Network connections of a simulated military network (a tenth of KDD Cup 1999): normal, "
        "or which attack? 41 features, some nominal.",
        n_samples=494_020,
        n_features=41,
        n_classes=23,
        urls=(
            _DROPBOX
            + "flainlfk15tut2p3qxdgd/KDDCup99.arff.gz?rlkey=gt03mezzps6euezgmhgpqsifv&st=ky0dt0dg&dl=1",
            "https://www.openml.org/data/download/53996/KDDCup99.arff",
        ),
        licence=_UCI,
        citation=KDD99,
    ),
    "sensor": Source(
        file="sensor.arff",
        description="Readings of 54 sensors in the Intel Berkeley laboratory: which sensor is it? Time, "
        "temperature, humidity, light and voltage.",
        n_samples=2_219_803,
        n_features=5,  # papers count 54 or 55 classes, so their number cannot be checked
        urls=(
            _DROPBOX
            + "tyvtg4g9nop80gc2zuhog/sensor.arff.gz?rlkey=dfocd19pu67lvp4zj2tcaajoq&st=ajjxsxg3&dl=1",
            "https://www.cse.fau.edu/~xqzhu/Stream/sensor.arff",
        ),
        citation="X. Zhu (2010). Stream data mining repository.",
    ),
    "pokerhand": Source(
        file="poker-hand.arff",
        description="Hands of five playing cards: which of ten poker hands is it? Suit and rank of each.",
        n_samples=1_025_009,
        n_features=10,
        n_classes=10,
        urls=(
            _DROPBOX
            + "6od40wxphdsgo20hxyama/poker-hand.arff.gz?rlkey=0pmk5fb8al4aw7r1xfb41hux5&st=ar7ub159&dl=1",
        ),
        licence=_UCI,
        citation="R. Cattral, F. Oppacher (2002). Poker hand. UCI machine learning repository.",
    ),
    "gas": Source(
        file="gas.csv",
        description="Measurements of 16 chemical sensors that age over 36 months: which of six gases is it? "
        "128 numbers; the ten batches in their order (Vergara et al. 2012).",
        n_samples=13_910,
        n_features=128,
        target="class",
        classes=tuple(range(1, 7)),
        n_classes=6,
        urls=("https://archive.ics.uci.edu/static/public/224/gas+sensor+array+drift+dataset.zip",),
        licence=f"{_UCI}; yet its authors write there that it is for research only, commercial purposes excluded",
        citation="A. Vergara et al. (2012). Chemical gas sensor drift compensation using classifier ensembles. Sensors "
        "and Actuators B 166.",
    ),
    **CIRCULATING,
}


ARCHIVE = "scikit-multiflow-0.4.1.tar.gz"
ARCHIVE_BYTES = 15_532_019
ARCHIVE_SHA256 = "ed4f791107cb7f789f0bb0620c50e743a4d397905146a4d06c62eb98607aa101"
ARCHIVE_FOLDER = "scikit-multiflow-0.4.1/src/skmultiflow/data/datasets"
ARCHIVE_STREAMS = ("electricity", "weather", "covtype")
