"""Abbreviations that end in a full stop, by language and by what may follow them.

Facts of the languages, for `sentence_ends`: without their last full stop, in lower case.
"""

from __future__ import annotations

from functools import cached_property

import msgspec


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


class Abbreviations(msgspec.Struct, frozen=True, dict=True):
    """The abbreviations of a language, by what may follow them.

    Args:
        titles: before a name; never the end of a sentence.
        references: before a number or a letter (`vol. 2`, `App. B`).
        closing: often the last word of a sentence (`etc.`); a capital after them begins a new one.
        others: may end a sentence, when a word follows that begins sentences.
        words: abbreviations that are also ordinary words; these are abbreviations only with a capital or at a number.
        starters: words that begin sentences and follow an abbreviation inside of one hardly ever.
        ordinals: whether a number with a full stop is an ordinal (`3. Mai`).
    """

    titles: frozenset[str]
    references: frozenset[str]
    closing: frozenset[str]
    others: frozenset[str]
    starters: frozenset[str]
    words: frozenset[str] = frozenset()
    ordinals: bool = False

    @cached_property
    def known(self) -> frozenset[str]:
        """Every abbreviation."""
        return self.titles | self.references | self.closing | self.others


ENGLISH = Abbreviations(
    titles=_words(
        "mr mrs ms mx dr prof rev revd fr hon messrs mme mlle mmes mgr msgr gen lt lieut col capt cpt cmdr comdr "
        "cdr maj "
        "sgt cpl pvt pfc adm brig ens sen rep gov pres supt insp det ald atty amb asst assoc bro st ste mt mtn ft pt "
        "rt sr sra srta dept univ dir sec treas chmn mssrs esq gens cols capts profs drs revs sens reps pte cllr "
        "dep comm ind dem repub maj-gen lt-col lt-gen brig-gen "
    ),
    references=_words(
        "vol vols ch chs chap chaps fig figs eq eqs eqn eqns p pp pg pgs sec secs sect par pars para paras no nos "
        "nr num "
        "art arts op opp cl app appx apt apts ste rm rms bldg fl flr rte hwy rt ser mod flt bk bks l ll ln "
        "lns v vv vs. tab tbl ex exs ed eds pl plt pt pts col cols n nn fn ftn ref refs ver rev iss lot sq tel ext fax "
        "ps isa gen rom cor matt gal eph phil thess tim heb jas exod lev deut prov eccl jer ezek dan zech mal sch "
        "sched sub subsec subs cap stat ann doc docs qu q ques ca c circa r reg flor fo fol ms mss"
    ),
    closing=_words("etc &c approx"),
    others=_words(
        "jr snr jnr inc corp co cos ltd llc plc bros assn assoc intl natl govt dept depts mfg mfr "
        "ave av blvd bvd rd st str ln ct pl sq ter terr pkwy pky hwy hts cres crt cir al plz "
        "jan feb febr mar apr jun jul aug sep sept oct nov dec mon tue tues wed weds thu thur thurs fri sat sun "
        "ft in ins yd yds mi mph km cm mm m kg g mg lb lbs oz gal gals qt qts pt pts tsp tsps tbsp tbsps doz wt dia "
        "hr hrs min mins secs wk wks mo mos yr yrs deg temp avg appr est max min misc incl excl inc attn "
        "al cf viz ibid op cit eg ie vs v resp aka acct accts pkg pkgs mgr asst orig abbr adj adv anon arr ass'n "
        "auth bal bap biog bot bur cent cert cf chem chron comp conf cong cont contd corr ctr dbl def del diag dif "
        "diff dist "
        "div dup econ educ elec elev emp enc encl eng engr equiv esp ess esq ex exc exch exp fem fig fin fwd freq "
        "geog geom gk gr hdqrs hist hosp illus illust imp inst intro inv irreg lab lang lat lib lit loc manuf masc "
        "math mech "
        "med mem mfd mil misc mkt mod mus myth nat nav neg neut obj obs occas off opp opt ord org pat pd perf perh "
        "pers pert phot "
        "pkt pl pop poss ppd pr prec pref prelim prep prob proc prod pron prop prov pseud pub publ qty quot quart "
        "rd rec recd ref "
        "reg rel repr req res ret retd rev sc sci ser sing soc spec spt sq stat std subj subst suff sup supp suppl "
        "surg sym syn "
        "tech tel temp theol tot trans transl treas univ usu util val var veg ven vet vic vocab whsl wkly yrbk zool "
        "ala alas ariz ark calif colo conn del fla ga ida ill ind kan kans ky la md mass mich minn miss mont neb "
        "nebr nev okla "
        "ore oreg pa penn penna tenn tex va vt wash wis wisc wyo ont que alta sask "
        "maj min bldg ext b d bu pk dol dols ct cts doz gro n s e w ne nw se sw no so nos ps nb rsvp pres "
        "wm chas geo jas jos thos robt edw benj alex saml danl eliz ed fred"
    ),
    starters=_words(
        "the a an this that these those there here he she it they we you i his her hers its their our my your one "
        "nobody "
        "somebody everybody anybody nothing everything someone everyone none all some many most few several each both "
        "another other others such and but or nor so yet for if when while where why how what who whose which whom "
        "then "
        "now today yesterday tomorrow meanwhile however therefore thus still perhaps maybe after before because since "
        "although though unless until once in on at by with without from to of as under over during between through "
        "about among against is are was were do does did have has had can could will would shall should may might must "
        "please let not no yes never always often sometimes only even just also too first second third next last "
        "finally again soon later nor neither either instead besides indeed keep bring read stir ask"
    ),
    words=_words(
        "in no art arts cap chap chaps cols doc docs fig figs fax lot mod mal par sub subs tab ex reg ref refs ark "
        "bot cent def del div est fin ill lab lit la mass mar med mi mil miss mon nat pa pat pert pop poss prep "
        "prop pub rec rep reps sat sec secs sing so spec stat sun sup tech temp tot trans veg vet wash wed weds ma "
        "me co con add gen ms ste ser bus max min app apps bro ann phil tim sen"
    ),
)

GERMAN = Abbreviations(
    titles=_words(
        "dr prof hr hrn fr frl med phil jur rer nat ing dipl mag st hl sr sel habil theol pol oec frhr gen oberst "
        "hptm lt maj"
    ),
    references=_words(
        "art bd bde bdn s ss nr nrn abs abb abbn tab taf kap ziff lit bl sp v anm fn anh anl "
        "h jg "
        "ca tel fax str aufl ausg lfd rn rdnr az"
    ),
    closing=_words("usw etc u.s.w usf uff ff"),
    others=_words(
        "z.b z d.h d u.a u u.ä u.u o.ä o.g i.d.r i.a i.e i.d z.t z.zt m.e n.chr v.chr chr bzw bspw evtl ggf max min "
        "inkl exkl "
        "zzgl abzgl sog vgl siehe wg südl nördl westl östl geb gest hrsg hg bearb übers verh ehem gegr gem lt insb "
        "insbes "
        "allg bes betr bez dgl ebd entspr erg etw ges gez jh jhd jhdt jhs mio mrd tsd mwst nachm vorm österr "
        "schweiz dt "
        "engl frz lat griech ital span urspr usw verf vermutl versch vorl zus zw fa gebr co inc ltd gmbh st "
        "jan feb febr mär apr jun jul aug sep sept okt nov dez mo di mi do fr sa so std min sek stk pkt tägl wöchentl "
        "jährl monatl ungef zit a b c ev kath bhf hbf pl postf adr abt abf ank"
    ),
    starters=_words(
        "der die das den dem des ein eine einer einem einen er sie es wir ihr ich du man niemand jemand alle viele "
        "einige manche jeder jede jedes dieser diese dieses jener jene und aber oder doch denn wenn weil als ob "
        "während nachdem bevor seit wo wie warum was wer wann dann danach da hier dort jetzt heute gestern morgen "
        "trotzdem deshalb darum außerdem vielleicht nein ja nicht nur auch noch schon immer nie in im an am auf aus "
        "bei "
        "mit nach von vor zu zum zur über unter um für ohne gegen ist sind war waren hat haben hatte hatten wird "
        "werden "
        "sein seine ihre unser mein kein keine bitte art"
    ),
    ordinals=True,
    words=_words("so do an in mo mi max min best art st"),
)

FRENCH = Abbreviations(
    titles=_words(
        "m mm mme mmes mlle mlles dr drs pr prof me mes mgr st ste sts stes mr s.m s.e s.a.r cap capt col gén lt sgt"
    ),
    references=_words(
        "p pp vol vols chap ch fig figs n no nos num art arts al éd t tt env tél fax av bd boul rte r pl bât app "
        "l ll v vv cf ann doc réf rég col f ff fasc ex hab"
    ),
    closing=_words("etc"),
    others=_words(
        "cf p.ex ex c.-à-d c.-à d c-à-d al env janv févr avr juil sept oct nov déc lun mar mer jeu ven sam dim "
        "h min s sec cie s.a sa s.a.r.l sarl ltd inc apr av j.-c id ibid op cit loc max min adj adv dép dept éd éds "
        "sc suiv "
        "suppl trad vs boul bd tél u.s.a u.s"
    ),
    starters=_words(
        "le la les l' un une des il elle ils elles on nous vous je tu ce cet cette ces c'est ceci cela ça son sa "
        "ses leur "
        "leurs mon ma mes notre votre et mais ou donc or ni car si quand comme lorsque puis ensuite alors aussi "
        "cependant pourtant enfin ici là en dans sur sous avec sans pour par de du à au aux chez entre depuis pendant "
        "après avant personne rien tout tous toutes chacun plusieurs beaucoup qui que quoi où pourquoi comment non oui "
        "ne jamais toujours encore déjà"
    ),
    words=_words("sept mer mar cap col ex art arts jeu ch sac"),
)

SPANISH = Abbreviations(
    titles=_words(
        "sr sra srta sres sras srtas dr dra dres dras prof profa lic ing arq d dña dn gral cnel cap tte sgto mons "
        "pbro fr "
        "sto sta st abg pdte dir"
    ),
    references=_words(
        "pág págs p pp vol vols cap caps fig figs núm núms n no nro nos n.º art arts inc lit ed eds t av avda "
        "avd c "
        "ca aprox tel fax ext cód col km ref sec párr v vv apdo urb dpto piso pta"
    ),
    closing=_words("etc"),
    others=_words(
        "p.ej ej cf al aprox ud uds vd vds ee.uu ee uu s.a sa s.l sl cía cia hnos ltda ltd inc co a.c d.c a.m p.m a m "
        "ene feb mar abr may jun jul ago sep sept oct nov dic lun mié jue vie sáb dom máx mín min h seg hab ib ibíd "
        "íd op cit "
        "av avda admón depto prov pza plza ctra izq der"
    ),
    starters=_words(
        "el la los las un una unos unas lo él ella ellos ellas nosotros usted ustedes yo tú se su sus mi mis tu "
        "nuestro "
        "este esta esto estos estas ese esa eso aquel aquella y pero o ni porque pues si cuando como mientras donde "
        "luego después entonces ahora hoy ayer mañana también además sin embargo aquí allí en con sin para por de "
        "del a al "
        "desde hasta entre sobre durante nadie nada todo todos todas alguien algo muchos muchas pocos otro otra qué "
        "quién "
        "cuál no sí nunca siempre ya todavía aún murió fue era es está había hay"
    ),
    words=_words("mar cap sal art inc sol do vie mi"),
)

LANGUAGES = {"en": ENGLISH, "de": GERMAN, "fr": FRENCH, "es": SPANISH}
