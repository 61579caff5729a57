"""The guide: its stages and questions as scripts that are read, run, and written as notebooks; its exercises, judged.

The scripts stand in `guide/`, each a program of its own in jupytext's percent format:

    # %% [markdown]             text; the first cell has the title, what the script teaches, and its minutes
    # %% tags=["code"]          the program that grows from stage to stage
    # %%                        an experiment, which may end in a picture
"""
