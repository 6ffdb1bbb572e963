"""Digests of each split's content, as `layouts.digest` computes them, and means of series whose values may differ."""

from __future__ import annotations

DIGESTS: dict[str, dict[str, str]] = {
    "adbench-annthyroid": {
        "all": "ee83928c639da33eec9026c11ba4d00fa8491770a458953e4b6c478406fa4af2",
    },
    "adbench-cardio": {
        "all": "11ea58529e4e78d123eb40a51eb2fc7978027862becc93dd7225a95183be4099",
    },
    "adbench-ionosphere": {
        "all": "6b3f397d45a6c26d981e3e851636e97f73e440c0a8bbd9a89dd3018509354269",
    },
    "adbench-letter": {
        "all": "6d51d6e215735ccdabefdaca97826301ea50ad350de805a56614ecffbb58c4f4",
    },
    "adbench-mammography": {
        "all": "570b02250180f2ad1ccc4c2e13f419db06fa398152784247998d71ab4eb944cd",
    },
    "adbench-musk": {
        "all": "2562379eed55ee4779fcee962d279e249b268671d9af8d4c510d9900cb9e3140",
    },
    "adbench-optdigits": {
        "all": "db0750ae9f970b736768c5dd23d5e0ada94c39bdd8557edbd5cd6c0a0e071566",
    },
    "adbench-pendigits": {
        "all": "fc0a666dc661e774cf5479475297a5a578d07331eb2e94aa5d45d5670df40f07",
    },
    "adbench-satellite": {
        "all": "a7e8cf8fce1765521bb0d09ade76cb48a2649c2e25cc81d5f2fb6cfd57eb9c2f",
    },
    "adbench-shuttle": {
        "all": "0775a1fe6fa6db9320928e1eac1979c93d257cb560296411e2ecac3d8dccefd1",
    },
    "adbench-thyroid": {
        "all": "d1c541b2c45af3201492cd74621e437ff8fe9806788fbb854895c151773abfcc",
    },
    "adbench-wdbc": {
        "all": "a26cb0d7ccd686df7b534fe7ad6b0646af42f2862361f5620061c7d7f60ba780",
    },
    "ecg5000": {
        "train": "0737bde9186e6adc62056e25c308567adce3802dd6b45eaea127be8a60c63f12",
        "test": "dac565192aaf684f6670cf728f0c5057737bbb302d70ed2e30f1ef283c28a03e",
    },
    "esol": {
        "all": "a38dcbcfaeca37c54a05f5431690ac85bfb4def1616b352af17d17366f228143",
    },
    "fashion-mnist": {
        "train": "6ee2fe24a8101c6107b4b9c7afb1c1e05bdeffcbc6d02d9ea2c0e2c6a3c26496",
        "test": "29eec159436f434ab28b3c46ae53173928702501c224a7f79555f33b5a3adfee",
    },
    "kodak": {
        "all": "e19b374c5e2e5b996e63aba404153d95bf4f44f4f624e1ecff767a44ed6f4762",
    },
    "mnist": {
        "train": "da2782626c6097298015e573f80a2b0feff86adc509974deaba6e1233f561913",
        "test": "f5df0237172d4778f44f0b75dd7f9c40c856ee72824d2f536ed9174b7fc321c0",
    },
    "mnist1d": {
        "train": "699087a622052cc6b49a84a0c9af7b417dba3a1c06397db3d997af92c853f6c9",
        "test": "a3e29c41d1866d5eb94cdb1f59f9f4dbec607da4d77d108dedd95b062e943006",
    },
    "movielens-small-2016": {
        "all": "cd860e84ae7739c9543edced15f51e153c03dd5b4c1eeb6c1c697d4d83233ccf",
    },
    "nab": {
        "all": "8a03fc4035c221742476d6a3a9fd9d95046a676b953e269ea932740519a60bb7",
    },
    "nsl-kdd": {
        "train": "bbc4863f4fc4d1494f82afed85abbfc7ded6cbfd6bac21a468bd0e28007ce512",
        "test": "26554a1ab9ba7f28dbb979f28f824b239f1f8354c79fa6749114c7d861285a9a",
    },
    "omniglot": {
        "train": "ae601f053d9f026e776e247f8262c179cb54f0836ac155e1e70508eacd6fed3f",
        "test": "36b1bd18271a5af265c93152a2fae98e15f1e3d04c7034904665ea4d81746217",
    },
    "pneumoniamnist": {
        "train": "18d509617867fddb410cf3db5df7b118da409e67521a72b60f1c4697135b207e",
        "val": "a5176348260ecdae4826892ea6ebff141b68f11673d607d0335ff334405cfa8f",
        "test": "113c7e27df734558119963de13cefb0f1ee02beb87f6b7322d68a33446892260",
    },
    "qm9": {
        "all": "e07abd272bfc09c0d65ec24644c907f99d42d488f34efe67dba40a21dcb01d08",
    },
    "smd-machine-1-6": {
        "train": "be21cfb447cf8d384d888a24aa33579891b95c10824d8ef13eebec3424174f29",
        "test": "52bca6ddbd345e9d5690a4397a62d9012647763140da3011f25aeee46536204c",
    },
    "smd-machine-2-1": {
        "train": "2a2f6482637833f3613645956db2a8e130fa29d1d4dc484f1cbd3cb6e905d2bb",
        "test": "4319625e2036addf14817fdf16f5905b93aead6cf25a3eebf6e5510fdb9c5bb6",
    },
    "tatoeba-en": {
        "all": "6359be4b1c5275f9e724deceabc07ebaa956fbf4c17f9ff330ff3366af0fe58e",
    },
    "zinc250k": {
        "all": "ef2daa8db4f74fb8a48cf7b14cba9427cfd0ddde5eb4287d57596ed2a8b748e8",
    },
}

# Of every 20th column: other containers of ECG5000 differ from the digested one by roundings.
ECG_MEANS: dict[str, tuple[float, ...]] = {
    "train": (-0.1591, -0.03366, -0.25214, 0.12137, 0.47595, 0.94022, 0.07246),
    "test": (-0.27396, -0.0506, -0.26225, 0.11162, 0.47808, 0.94723, 0.06504),
}
