from pathlib import Path
import pytest
from helpers import models
from helpers.models.presets import PRESETS
OLD = Path("/tmp/mout_old")
@pytest.mark.parametrize("n", list(PRESETS))
def test_zz(presets, n, tmp_path):
    c = presets[n]
    models.save_config(c, tmp_path / "a"); assert (tmp_path/"a").read_text() == (OLD/f"preset_{n}.yaml").read_text()
    c = models.with_budget(c, train_steps=500, batch_size=4, learning_rate=0.01)
    models.save_config(c, tmp_path / "b"); assert (tmp_path/"b").read_text() == (OLD/f"budget_{n}.yaml").read_text()
    models.save_config(models.load_config(tmp_path / "b"), tmp_path / "c"); assert (tmp_path/"c").read_text() == (OLD/f"back_{n}.yaml").read_text()
    t = models.difference_table(models.experiment(PRESETS[n].experiment), c)
    import pandas as pd
    o = pd.read_csv(OLD/f"diff_{n}.txt", index_col=0, dtype=str, keep_default_na=False)
    assert list(t.index) == list(o.index)
    assert t[["before","after"]].values.tolist() == o[["before","after"]].values.tolist()
